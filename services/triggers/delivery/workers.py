"""The delivery workers of a process. They deliver inbox messages that waited in batches, and webhooks a few at a time to each
endpoint."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec

from libs.common.contracts.records import decode
from libs.common.contracts.triggers import MessageQueued, MessageSent
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing
from libs.common.observability import tracing
from libs.common.observability.telemetry import log
from libs.common.runtime.backoff import Backoff
from libs.common.runtime.component import Check
from libs.common.runtime.failpoints import failpoint
from services.triggers.decider import TriggersHandler
from services.triggers.delivery import schedule, store
from services.triggers.delivery.addresses import Addresses
from services.triggers.delivery.outcomes import WITHHELD_PAUSED, Outcomes
from services.triggers.delivery.store import Row, Verdict
from services.triggers.delivery.webhook import Sender
from services.triggers.settings import Settings

logger = log("delivery")

#: The bytes by which a fact is recognised.
_SENT, _QUEUED = (f'"type":"{fact.TYPE}"'.encode() for fact in (MessageSent, MessageQueued))

BATCH = 500
#: Seconds between two looks for due messages when nothing wakes the workers.
IDLE = 0.5
#: Seconds in which new messages gather before they are delivered together: one costs as much as ten.
GATHER = 0.03
INBOX_LEASE = timedelta(seconds=10)
STOP_SECONDS = 5.0


class Delivery:
    """A component; start it after the consumer service."""

    name = "delivery"

    def __init__(
        self, part: ConsumerService, handler: TriggersHandler, addresses: Addresses, settings: Settings
    ) -> None:
        self._part = part
        self._handler = handler
        self._addresses = addresses
        self._seconds = settings.webhook_seconds
        self._each = settings.webhook_concurrency
        self._lease = timedelta(seconds=settings.webhook_seconds + 15)
        self._outcomes = Outcomes(part, handler)
        self._running: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._wakers: list[asyncio.Event] = []
        self._resting: list[asyncio.Event] = []  # of every loop: `stop` sets them all
        self._stopping = asyncio.Event()
        handler.on_decided = self.decided

    async def start(self) -> None:
        self._sender = Sender(self._addresses, self._seconds)
        self._stopping.clear()
        for step in (self._deliver_to_inboxes, self._start_webhooks, self._withhold_paused):
            waker = asyncio.Event()
            if step != self._withhold_paused:  # it only polls
                self._wakers.append(waker)
            self._resting.append(waker)
            self._loops.append(asyncio.create_task(self._repeat(step, waker), name=f"delivery {step.__name__}"))

    async def stop(self) -> None:
        """Finish what is being sent, for a few seconds. The leases of the rest expire."""
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
        """Always passes. Names the number of waiting messages, and measures them for /metrics."""
        async with self._part.read() as tx:
            waiting = await self._outcomes.meter.measure(tx)
        return Check(True, f"{waiting:,} message{'' if waiting == 1 else 's'} queued")

    def died(self) -> str:
        """The name of a loop that has ended; none should."""
        dead = [task.get_name() for task in self._loops if task.done()]
        return "" if self._stopping.is_set() or not dead else f"{dead[0]} has ended"

    def decided(self, facts: Sequence[Outgoing], began: int) -> None:
        """A batch of the fold is committed: count and trace what it sent, and wake the loops for what it queued."""
        if sent := [fact.value for fact in facts if _SENT in fact.value]:
            self._outcomes.meter.ended("inbox", "sent", len(sent))
            if tracing.active():
                _trace_sent(sent, began)
        if any(_QUEUED in fact.value for fact in facts):
            self.wake()

    def wake(self) -> None:
        """Let the loops look for due messages."""
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
            leased = await store.lease(tx, self._outcomes.owner, "inbox", BATCH, INBOX_LEASE)
        if leased:
            await self._outcomes.know_versions(leased)
            quiet = {row["id"]: (row, end) for row in leased if (end := self._outcomes.quiet_until(row)) is not None}
            if quiet:
                await self._outcomes.postpone(list(quiet.values()))
            due = [row for row in leased if row["id"] not in quiet]
            began = time.time_ns()
            settled = await self._outcomes.settle(
                due, lambda row, states: self._outcomes.last_check(row, states) or store.SENT
            )
            for row in due if tracing.active() else ():
                if verdict := settled.get(row["id"]):
                    tracing.delivered(
                        _place(row), {**_row_attributes(row), "rapport.outcome": verdict.state}, began, None
                    )
        return len(leased)

    async def _withhold_paused(self) -> int:
        async with self._part.tx() as tx:
            leased = await store.lease_paused(tx, self._outcomes.owner, BATCH, INBOX_LEASE)
        if leased:
            await self._outcomes.settle(leased, lambda row, states: WITHHELD_PAUSED)
        return len(leased)

    # -- webhooks -------------------------------------------------------------------------------------------------------
    async def _start_webhooks(self) -> int:
        """Start deliveries to each endpoint up to its limit: a slow endpoint delays only its own messages."""
        started = 0
        async with self._part.read() as tx:
            endpoints = await store.endpoints(tx)
        for endpoint in endpoints:
            if (room := self._each - self._running[endpoint]) <= 0:
                continue
            async with self._part.tx() as tx:
                leased = await store.lease(tx, self._outcomes.owner, endpoint, room, self._lease)
            await self._outcomes.know_versions(leased)
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
            logger.error("a delivery failed unexpectedly, its lease will expire", task=task.get_name(), exc_info=error)
        self.wake()

    async def _send(self, row: Row) -> None:
        try:
            async with self._part.read() as tx:
                customer = await self._handler.customers.survivor(tx, row["customer"])
                states = [await self._handler.customers.state(tx, each) for each in {row["customer"], customer}]
            verdict = self._outcomes.last_check(row, [state for state in states if state is not None])
            if row["attempts"] > schedule.ATTEMPTS:  # each attempt ended with its process, or in an internal error
                verdict = Verdict("failed", None, f"{schedule.ATTEMPTS} attempts ended without an outcome")
            if verdict is not None:
                await self._outcomes.record(lambda: self._outcomes.settle([row], lambda *_: verdict))
                return
            if (end := self._outcomes.quiet_until(row)) is not None:
                await self._outcomes.record(lambda: self._outcomes.postpone([(row, end)]))
                return
            began, place = time.time_ns(), _place(row)
            answer = await self._sender.send(self._outcomes.webhook_request(row), place and place.traceparent)
            failpoint("delivery.sent")
            tracing.delivered(place, _row_attributes(row), began, answer.error)
            await self._outcomes.record(lambda: self._outcomes.note(row, answer))
        finally:
            self._running[row["endpoint"]] -= 1


def _trace_sent(values: Sequence[bytes], began: int) -> None:
    """One span for the messages that a record sent with its decision. It is the parent of what follows from them."""
    for cause, fact in {fact.causationid or "": fact for fact in map(decode, values)}.items():
        message = msgspec.json.decode(fact.data, type=MessageSent)
        attributes = _attributes("inbox", message.message, message.hook, 1)
        tracing.delivered(tracing.delivery(fact.traceparent, cause, cause, 1), attributes, began, None)


def _place(row: Row) -> tracing.Place | None:
    return tracing.delivery(row["traceparent"], str(store.queued(row)), row["cause"], row["attempts"])


def _row_attributes(row: Row) -> dict[str, str | int]:
    return _attributes(row["channel"], str(row["id"]), str(row["hook"]), row["attempts"])


def _attributes(channel: str, message: str, hook: str, attempt: int) -> dict[str, str | int]:
    """The span's attributes; never the address, which may contain a secret."""
    return {
        "rapport.channel": channel,
        "rapport.message": message,
        "rapport.hook": hook,
        "rapport.attempt": attempt,
    }
