"""What happens to segments by itself: timers that are due, and customers who have not been evaluated since a publication."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from libs.common.contracts.profile import JOURNAL
from libs.common.db.errors import UNAVAILABLE, is_data_error
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.log.reader import Lag, Position, TopicPartition
from libs.common.runtime.periodic import PeriodicTask
from services.profile.segments import store
from services.profile.segments.refresh import refresh
from services.profile.segments.rulebooks import Rulebooks

logger = structlog.get_logger()

#: Customers in one transaction.
PAGE = 100
_DUE = """
SELECT found.* FROM generate_series(0, $1 - 1) AS p(number) CROSS JOIN LATERAL (
  SELECT customer, due FROM profile.timers WHERE partition = p.number AND due <= $2 ORDER BY due LIMIT $3
) AS found ORDER BY due LIMIT $3
"""


class FoldedUntil:
    """Finds the time up to which all partitions have been folded, where the log does not say how old its unread records are
    (Kafka): that of an earlier look, once what was unread then has been folded."""

    def __init__(self) -> None:
        self._until: dict[TopicPartition, datetime] = {}
        self._awaited: dict[TopicPartition, tuple[int, datetime]] = {}

    def look(
        self, now: datetime, lags: Mapping[TopicPartition, Lag], positions: Mapping[TopicPartition, Position]
    ) -> datetime | None:
        """The time, after another look; None until there is one for each partition. `positions` are read after `lags`."""
        for tp, lag in lags.items():
            head = positions[tp].next + lag.records
            awaited, at = self._awaited.setdefault(tp, (head, now))
            if not lag.records:
                self._until[tp] = now
            elif positions[tp].next >= awaited:
                self._until[tp] = at
            else:
                continue
            self._awaited[tp] = head, now
        return min(self._until.values()) if self._until.keys() == lags.keys() else None


class SegmentTasks(PeriodicTask):
    """A component: looks at customers whose timers are due, and evaluates all customers after a publication, page by page.

    Several processes may do so at once: each customer is changed under their lock, and a second look changes nothing.
    `refused` are customers at whom this release cannot look; the log says why.
    """

    name = "segments"
    every = 1.0

    def __init__(self, consumer: ConsumerService, rulebooks: Rulebooks) -> None:
        super().__init__()
        self._consumer = consumer
        self._rulebooks = rulebooks
        self.refused: set[UUID] = set()
        self._folded = FoldedUntil()

    async def fire(self, now: datetime) -> int:
        """Look at customers whose timers are due; returns how many. Not later than what has been folded: until then it is
        not known whether something came in between."""
        partitions = self._consumer.settings.partitions
        async with self._consumer.read() as connection:
            if not await connection.fetch(_DUE, partitions, now, 1):
                return 0
        until, fired = await self._folded_until(now), 0
        while until is not None:
            async with self._consumer.read() as connection:
                rows = await connection.fetch(_DUE, partitions, until, PAGE + len(self.refused))
                number = await self._consumer.fold.positions.rulebook(connection)
            due = {row["customer"]: row["due"] for row in rows if row["customer"] not in self.refused}
            if not due:
                return fired
            await self._refresh(due, number)
            fired += len(due)
        return fired

    async def _folded_until(self, now: datetime) -> datetime | None:
        """The time up to which everything has been folded; None if that is not known yet."""
        lags = await self._consumer.fold.lag()
        if self._consumer.settings.log == "postgres":
            return now - timedelta(seconds=max((lag.seconds for lag in lags.values()), default=0.0))
        async with self._consumer.read() as connection:
            return self._folded.look(now, lags, await self._consumer.fold.positions.all(connection))

    async def fill_page(self) -> int:
        """Evaluate the next customers who have not been evaluated since a publication; returns how many, 0 when all have."""
        async with self._consumer.read() as connection:
            page = await store.page_to_fill(connection, PAGE)
        if page is None:
            return 0
        await self._refresh(dict.fromkeys(page.ids, datetime.now(UTC)), page.rulebook)
        async with self._consumer.tx() as tx:
            await store.filled(tx, page)
        return len(page.ids)

    async def _refresh(self, at: Mapping[UUID, datetime], number: int) -> None:
        """Refresh customers in one transaction; if that fails for what is in one of them, each alone."""
        try:
            await self._together(at, number)
        except Exception as error:
            if isinstance(error, (*UNAVAILABLE, Unavailable)) and not is_data_error(error):
                raise
            if len(at) > 1:
                for customer, time in at.items():
                    await self._refresh({customer: time}, number)
                return
            (customer,) = at
            self.refused.add(customer)
            logger.exception("a customer cannot be looked at", customer=str(customer), error=repr(error))

    async def _together(self, at: Mapping[UUID, datetime], number: int) -> None:
        settings = self._consumer.settings
        async with self._consumer.tx() as tx:
            rules = await self._rulebooks.rules(tx, number)
            written = await refresh(tx, at, rules, settings.zone, settings.partitions)
        self._consumer.fold.notifier.notify_later(JOURNAL, written)

    async def _run_once(self) -> None:
        await self._fire_due()
        filled = 0
        while page := await self.fill_page():
            filled += page
            await self._fire_due()  # a publication takes a while: no timer waits for its end
        if filled:
            logger.info("customers evaluated for new segments", customers=filled)

    async def _fire_due(self) -> None:
        if fired := await self.fire(datetime.now(UTC)):
            logger.debug("timers of segments fired", timers=fired)
