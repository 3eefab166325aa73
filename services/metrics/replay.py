"""What a replay makes of metrics: purchases, activity, the histogram, scores as fits gave them."""

from libs.common.fold.handler import DeciderHandler
from libs.common.replay.replayable import CUSTOMERS, IDENTIFIERS, SECTIONS, Compared, Replayable
from services.metrics.decider import Metrics
from services.metrics.domain.inputs import Scored
from services.metrics.domain.state import Customer
from services.metrics.models import scores
from services.metrics.settings import Settings

_LINE = ("orders", "net_minor", "refunded_minor")
COMPARED = (
    CUSTOMERS,
    IDENTIFIERS,
    SECTIONS,
    Compared("purchase_days", ("customer", "day", "currency", *_LINE), "customer"),
    Compared("days", ("day", "currency"), sums=_LINE),
    Compared("active_days", ("customer", "day"), "customer"),
    Compared("active_totals", ("day",), sums=("customers",)),
    Compared("histogram", ("first", "span", "x"), sums=("n",)),
    Compared("scores", tuple(column.name for column in scores.columns), "customer"),
)
STATE = tuple(each.table for each in COMPARED)

#: A score is made from what was known a moment before it is given: it is put back as it was.
_SCORINGS = """
SELECT customer, stamp, scored_at AS at, 'Scored' AS type, command AS id, fits.created_at AS time, body
FROM metrics.scorings JOIN metrics.fits ON fits.id = scorings.fit
"""


def replayable(settings: Settings) -> Replayable[Customer, None]:
    """Metrics as a replay sees it."""
    handler = DeciderHandler("metrics", Metrics(settings))
    return Replayable("metrics", handler, STATE, COMPARED, commands={Scored.__name__: Scored}, commands_from=_SCORINGS)
