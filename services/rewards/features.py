"""The features of rewards, in the order in which they decide: earning asks for points, the ledger takes back what refunds ask
for, badges count, levels look at what has become of the points. One that is not listed here is not there."""

from services.rewards.badges.feature import Badges
from services.rewards.earning.feature import Earning
from services.rewards.feature import Feature
from services.rewards.ledger.feature import Ledger
from services.rewards.levels.feature import Levels

FEATURES: tuple[Feature, ...] = (
    Earning(),
    Ledger(),
    Badges(),
    Levels(),
)
