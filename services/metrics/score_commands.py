"""What fits said of customers, kept: a replay puts it back where it was said."""

from collections.abc import Sequence

import msgspec

from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied
from services.metrics.domain.state import Customer
from services.metrics.models import scorings

_INSERT = bulk.insert(scorings, ("customer", "fit", "command", "stamp", "body"))


async def keep(tx: Tx, applied: Sequence[Applied[Customer]]) -> None:
    """Keep the commands by which a fit has just scored customers. Does not commit."""
    rows = [
        (each.customer, each.input.body.fit, each.input.id, each.stamp, msgspec.json.encode(each.input.body))
        for each in applied
    ]
    if rows:
        await tx.execute(_INSERT, *bulk.transposed(rows))
