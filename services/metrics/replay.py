"""What a replay of metrics compares: purchases, activity, RFM cells, and scores as fits gave them."""

from libs.common.fold.handler import DeciderHandler
from libs.common.replay.replayable import CUSTOMERS, IDENTIFIERS, SECTIONS, Compared, Replayable
from services.metrics.decider import MetricsDecider
from services.metrics.domain.inputs import Scored
from services.metrics.domain.state import Customer
from services.metrics.models import scores
from services.metrics.personal import personal
from services.metrics.settings import Settings

_SUMS = ("orders", "net_minor", "refunded_minor")
COMPARED = (
    CUSTOMERS,
    IDENTIFIERS,
    SECTIONS,
    Compared("purchase_days", ("customer", "day", "currency", *_SUMS), "customer"),
    Compared("daily_sales", ("day", "currency"), sums=_SUMS),
    Compared("active_days", ("customer", "day"), "customer"),
    Compared("daily_active", ("day",), sums=("customers",)),
    Compared("rfm_cells", ("first", "span", "x"), sums=("customers",)),
    Compared("scores", tuple(column.name for column in scores.columns), "customer"),
)
STATE = tuple(each.table for each in COMPARED)

#: A replay puts score commands back, because it cannot compute them again.
_SCORE_COMMANDS = """
SELECT customer, stamp, scored_at AS at, 'Scored' AS type, command AS id, fits.created_at AS time, body
FROM metrics.score_commands JOIN metrics.fits ON fits.id = score_commands.fit
"""


def replayable(settings: Settings) -> Replayable[Customer, None]:
    """The tables and commands of metrics for a replay."""
    handler = DeciderHandler("metrics", MetricsDecider(settings), personal(settings.partitions))
    return Replayable(
        "metrics", handler, STATE, COMPARED, commands={Scored.__name__: Scored}, commands_from=_SCORE_COMMANDS
    )
