"""What rewards holds of a customer, of all features."""

from collections.abc import Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

from libs.common.db.pool import Tx
from libs.common.fold.personal import Personal
from services.rewards import standings
from services.rewards.features import FEATURES

#: The tables that belong to no feature.
_OWN = ("sections", "timers", "standings", "standing_days")


def personal(partitions: int, zone: ZoneInfo) -> Personal:
    """The tables with a customer's rows. Points, badges and levels of erased customers still count in the sums."""

    async def keep(tx: Tx, customers: Sequence[UUID]) -> None:
        for feature in FEATURES:
            await feature.keep(tx, customers, partitions, zone)
        await standings.keep(tx, customers, partitions)

    return Personal((*_OWN, *(table for feature in FEATURES for table in feature.personal)), keep)
