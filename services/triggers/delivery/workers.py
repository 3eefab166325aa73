"""The delivery workers of a process: leased rows go to inboxes in batches, to webhooks a few at a time an endpoint."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from libs.common import tracing
from libs.common.errors import Unavailable
from libs.common.failpoints import failpoint
from libs.common.fold.failures import Backoff
from libs.common.fold.part import FoldPart
from libs.common.service import Check
from libs.common.telemetry import log
from libs.common.unavailable import UNAVAILABLE
from services.triggers import hooks
from services.triggers.decider import TriggersHandler
from services.triggers.delivery import lateness, rows, schedule
from services.triggers.delivery.addresses import Addresses
from services.triggers.delivery.meter import DeliveryMeter
from services.triggers.delivery.rows import Row, Verdict
from services.triggers.delivery.webhook import Answer, Letter, Sender, body
from services.triggers.domain.decide import HISTORY, OPTED_OUT, PAUSED
from services.triggers.domain.hook import Hook
from services.triggers.domain.state import Recipient
from services.triggers.settings import Settings

logger = log("delivery")

BATCH = 500
#: Seconds between looking for due messages when nothing wakes us.
IDLE = 0.5
#: Seconds for which what is decided is gathered, to be delivered together: nobody notices, and one costs as much as ten.
GATHER = 0.03
INBOX_LEASE = timedelta(seconds=10)
STOP_SECONDS = 5.0


class Delivery:
    """A component; start it after the fold's part."""

    name = "delivery"

    def __init__(self, part: FoldPart, handler: TriggersHandler, addresses: Addresses, settings: Settings) -> None:
        self._part = part
        self._handler = handler
        self._addresses = addresses
        self._seconds = settings.webhook_seconds
        self._each = settings.webhook_concurrency
        self._lease = timedelta(seconds=settings.webhook_seconds + 15)
        self._owner = uuid4()
        self._versions: dict[tuple[UUID, int], Hook] = {}
        self._running: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._wakers: list[asyncio.Event] = []
        self._resting: list[asyncio.Event] = []  # of every loop: the end wakes them all
        self._recording = asyncio.Semaphore(3)
        self._stopping = asyncio.Event()
        self._meter = DeliveryMeter(part.meter.registry)

    async def start(self) -> None:
        self._sender = Sender(self._addresses, self._seconds)
        self._stopping.clear()
        for step in (self._deliver_to_inboxes, self._start_webhooks, self._withhold_paused):
            waker = asyncio.Event()
            if step != self._withhold_paused:  # which only looks now and then
                self._wakers.append(waker)
            self._resting.append(waker)
            self._loops.append(asyncio.create_task(self._repeat(step, waker), name=f"delivery {step.__name__}"))
        self._handler.on_decided = self.wake

    async def stop(self) -> None:
        """Finish what is being sent, for a few seconds; what is not finished has its lease run out."""
        self._stopping.set()
        for waker in self._resting:
            waker.set()
        tasks = [*self._loops, *self._sending]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._loops, self._wakers, self._resting = [], [], []
        await self._sender.close()

    async def check(self) -> Check:
        """It goes on whatever happens; says how many messages wait, and measures that for /metrics."""
        async with self._part.read() as tx:
            waiting = await self._meter.measure(tx)
        return Check(True, f"{waiting:,} message{'' if waiting == 1 else 's'} queued")

    def died(self) -> str:
        """Which loop has ended that never should."""
        dead = [task.get_name() for task in self._loops if task.done()]
        return "" if self._stopping.is_set() or not dead else f"{dead[0]} has ended"

    def wake(self) -> None:
        """There may be something to deliver."""
        for waker in self._wakers:
            waker.set()

    async def _repeat(self, step: Callable[[], Awaitable[int]], waker: asyncio.Event) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            waker.clear()
            pause = IDLE
            try:
                if await step() >= BATCH:
                    continue
                backoff.reset()
            except (Unavailable, *UNAVAILABLE) as error:
                pause = backoff.pause()
                logger.warning("delivery paused", error=repr(error), pause=round(pause, 2))
            except Exception as error:
                pause = backoff.pause()
                logger.error("delivery failed unexpectedly", step=step.__name__, pause=round(pause, 2), exc_info=error)
            try:
                async with asyncio.timeout(pause):
                    await (self._stopping if pause != IDLE else waker).wait()
            except TimeoutError:
                continue
            await asyncio.sleep(GATHER)

    # -- inbox ----------------------------------------------------------------------------------------------------------
    async def _deliver_to_inboxes(self) -> int:
        async with self._part.tx() as tx:
            leased = await rows.lease(tx, self._owner, "inbox", BATCH, INBOX_LEASE)
        if leased:
            await self._know_versions(leased)
            quiet = {row["id"]: (row, end) for row in leased if (end := self._quiet_until(row)) is not None}
            if quiet:
                await self._postpone(list(quiet.values()))
            due = [row for row in leased if row["id"] not in quiet]
            began = time.time_ns()
            settled = await self._settle(due, lambda row, states: self._last_check(row, states) or rows.SENT)
            for row in due if tracing.active() else ():
                if verdict := settled.get(row["id"]):
                    tracing.delivered(_place(row), {**_said(row), "rapport.outcome": verdict.state}, began, None)
        return len(leased)

    async def _withhold_paused(self) -> int:
        async with self._part.tx() as tx:
            leased = await rows.lease_paused(tx, self._owner, BATCH, INBOX_LEASE)
        if leased:
            await self._settle(leased, lambda row, states: _PAUSED)
        return len(leased)

    # -- webhooks -------------------------------------------------------------------------------------------------------
    async def _start_webhooks(self) -> int:
        """Start as many deliveries to each endpoint as it has room for: a slow one fills only its own room."""
        started = 0
        async with self._part.read() as tx:
            endpoints = await rows.endpoints(tx)
        for endpoint in endpoints:
            if (room := self._each - self._running[endpoint]) <= 0:
                continue
            async with self._part.tx() as tx:
                leased = await rows.lease(tx, self._owner, endpoint, room, self._lease)
            await self._know_versions(leased)
            for row in leased:
                self._running[endpoint] += 1
                task = asyncio.create_task(self._send(row), name=f"webhook {row['id']}")
                self._sending.add(task)
                task.add_done_callback(self._sent)
            started += len(leased)
        return started

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery failed unexpectedly, its lease runs out", task=task.get_name(), exc_info=error)
        self.wake()

    async def _send(self, row: Row) -> None:
        try:
            async with self._part.read() as tx:
                customer = await self._handler.customers.survivor(tx, row["customer"])
                states = [await self._handler.customers.state(tx, each) for each in {row["customer"], customer}]
            verdict = self._last_check(row, [state for state in states if state is not None])
            if row["attempts"] > schedule.ATTEMPTS:  # each attempt ended with its process, or in an error of our own
                verdict = Verdict("failed", None, f"{schedule.ATTEMPTS} attempts ended without an outcome")
            if verdict is not None:
                await self._record(lambda: self._settle([row], lambda *_: verdict))
                return
            if (end := self._quiet_until(row)) is not None:
                await self._record(lambda: self._postpone([(row, end)]))
                return
            began, place = time.time_ns(), _place(row)
            answer = await self._sender.send(self._letter(row), place and place.traceparent)
            failpoint("delivery.sent")
            tracing.delivered(place, _said(row), began, answer.error)
            await self._record(lambda: self._note(row, answer))
        finally:
            self._running[row["endpoint"]] -= 1

    async def _note(self, row: Row, answer: Answer) -> None:
        """Record one attempt: sent, failed, or to be tried again."""
        if answer.error is None:
            await self._settle([row], lambda *_: rows.SENT)
            return
        if answer.gone:
            async with self._part.tx() as tx:
                await hooks.pause(tx, row["hook"], "triggers", answer.error)
        pause = None if answer.final else schedule.pause(row["attempts"], answer.retry_after)
        if pause is None:
            tries = "" if row["attempts"] == 1 else f" (attempt {row['attempts']})"
            failed = Verdict("failed", None, f"{answer.error}{tries}")
            await self._settle([row], lambda *_: failed)
            return
        async with self._part.tx() as tx:
            await rows.again(tx, self._handler, self._owner, row, pause, answer.error)
        self._meter.ended(row, "again")

    async def _record(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write until it succeeds: what was sent must not be sent again only because the database was away."""
        backoff = Backoff()
        while True:
            try:
                async with self._recording:
                    await write()
                    return
            except (Unavailable, *UNAVAILABLE) as error:
                pause = backoff.pause()
                logger.warning("a delivery cannot be recorded yet", error=repr(error), pause=round(pause, 2))
                await asyncio.sleep(pause)

    async def _postpone(self, until: list[tuple[Row, datetime]]) -> None:
        async with self._part.tx() as tx:
            await rows.postpone(tx, self._handler, self._owner, until)

    # -- both -----------------------------------------------------------------------------------------------------------
    async def _settle(
        self, leased: list[Row], judge: Callable[[Row, Iterable[Recipient]], Verdict]
    ) -> dict[UUID, Verdict]:
        """Record what became of messages; those whose lease was lost are left out."""
        verdicts: dict[UUID, Verdict] = {}

        def judged(row: Row, states: Iterable[Recipient]) -> Verdict:
            verdicts[row["id"]] = verdict = judge(row, states)
            return verdict

        async with self._part.tx() as tx:
            await rows.settle(tx, self._part.fold, self._handler, self._owner, leased, judged)
        for row in leased:
            if verdict := verdicts.get(row["id"]):
                self._meter.ended(row, verdict.state)
        return verdicts

    def _last_check(self, row: Row, states: Iterable[Recipient]) -> Verdict | None:
        """What withholds a message at the last moment. Freshness is asked by the clock before the first attempt only:
        later ones follow the schedule."""
        if row["status"] == "paused":
            return _PAUSED
        if any(state.off_since is not None for state in states):
            return Verdict("withheld", OPTED_OUT, "the customer opted out of messages before it could be sent")
        late = lateness.too_late(row, self._versions[row["hook"], row["version"]].limits, datetime.now(UTC))
        return None if late is None else Verdict("withheld", HISTORY, late)

    def _quiet_until(self, row: Row) -> datetime | None:
        return lateness.quiet_until(row, self._versions[row["hook"], row["version"]].limits, datetime.now(UTC))

    def _letter(self, row: Row) -> Letter:
        action = self._versions[row["hook"], row["version"]].action
        written = body(str(row["id"]), str(row["hook"]), str(row["customer"]), row["title"], row["text"], row["event"],
                       row["occurred_at"])  # fmt: skip
        return Letter(str(row["id"]), action.url or "", (row["secret"], *row["old_secrets"]), written)

    async def _know_versions(self, leased: list[Row]) -> None:
        """Versions never change, so each is read once."""
        unknown = {(row["hook"], row["version"]) for row in leased} - self._versions.keys()
        if unknown:
            async with self._part.read() as tx:
                for hook, version in unknown:
                    self._versions[hook, version] = await hooks.content(tx, hook, version)


_PAUSED = Verdict("withheld", PAUSED, "the hook was paused before it could be sent")


def _place(row: Row) -> tracing.Place | None:
    return tracing.delivery(row["traceparent"], str(rows.queued(row)), row["cause"], row["attempts"])


def _said(row: Row) -> dict[str, str | int]:
    """What a trace tells of an attempt; never the address, which may hold a secret."""
    return {
        "rapport.channel": "inbox" if row["endpoint"] == "inbox" else "webhook",
        "rapport.message": str(row["id"]),
        "rapport.hook": str(row["hook"]),
        "rapport.attempt": row["attempts"],
    }
