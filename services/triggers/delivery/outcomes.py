"""Outcomes of leased messages: checked once more just before they are sent, and recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from libs.common.contracts.consent import SERVICE, allows
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.observability.telemetry import log
from libs.common.runtime.backoff import Backoff
from services.triggers import hooks, queries
from services.triggers.decider import TriggersHandler
from services.triggers.delivery import freshness, schedule, store
from services.triggers.delivery.meter import DeliveryMeter
from services.triggers.delivery.store import Row, Verdict
from services.triggers.delivery.webhook import Answer, WebhookRequest, body
from services.triggers.domain.decide import DESELECTED, HISTORY, NO_CONSENT, OPTED_OUT, PAUSED
from services.triggers.domain.hook import Hook
from services.triggers.domain.state import Recipient

logger = log("delivery")

WITHHELD_PAUSED = Verdict("withheld", PAUSED, "the hook was paused before it could be sent")


class Outcomes:
    """The outcomes of the messages that one process has leased as `owner`. `last_check`, `quiet_until` and `webhook_request` need
    `know_versions` first and write nothing. The other methods write, each in a transaction of its own."""

    def __init__(self, part: ConsumerService, handler: TriggersHandler) -> None:
        self.owner = uuid4()
        self.meter = DeliveryMeter(part.meter.registry)
        self._part = part
        self._handler = handler
        self._versions: dict[tuple[UUID, int], Hook] = {}
        self._recording = asyncio.Semaphore(3)

    async def know_versions(self, leased: list[Row]) -> None:
        """Load the hook versions of messages. Versions never change, so each is read once."""
        unknown = {(row["hook"], row["version"]) for row in leased} - self._versions.keys()
        if unknown:
            async with self._part.read() as tx:
                for hook, version in unknown:
                    self._versions[hook, version] = await queries.hook_content(tx, hook, version)

    def last_check(self, row: Row, states: Iterable[Recipient]) -> Verdict | None:
        """Why a message is withheld just before it would be sent, or None: a pause, an opt-out, a de-selection, a consent that
        was denied, or freshness by the clock."""
        if row["status"] == "paused":
            return WITHHELD_PAUSED
        if any(state.off_since is not None for state in states):
            return Verdict("withheld", OPTED_OUT, "the customer opted out of messages before it could be sent")
        hook = self._versions[row["hook"], row["version"]]
        purpose = hook.action.purpose
        if purpose != SERVICE and any(state.deselected for state in states):
            return Verdict("withheld", DESELECTED, "the business de-selected the customer before it could be sent")
        if purpose != SERVICE and any(allows(state.consent, purpose, row["channel"]) is False for state in states):
            return Verdict("withheld", NO_CONSENT, f"the customer denied {purpose} before it could be sent")
        late = freshness.too_late(row, hook.limits, datetime.now(UTC))
        return None if late is None else Verdict("withheld", HISTORY, late)

    def quiet_until(self, row: Row) -> datetime | None:
        """When the customer's present quiet hours end; None outside of quiet hours."""
        return freshness.quiet_until(row, self._versions[row["hook"], row["version"]].limits, datetime.now(UTC))

    def webhook_request(self, row: Row) -> WebhookRequest:
        """The request to a webhook, with the secrets that sign it."""
        action = self._versions[row["hook"], row["version"]].action
        content = body(str(row["id"]), str(row["hook"]), str(row["customer"]), row["title"], row["text"], row["event"],
                       row["occurred_at"])  # fmt: skip
        return WebhookRequest(str(row["id"]), action.url or "", (row["secret"], *row["old_secrets"]), content)

    async def settle(
        self, leased: list[Row], judge: Callable[[Row, Iterable[Recipient]], Verdict]
    ) -> dict[UUID, Verdict]:
        """Record the outcomes of messages, except those whose lease was lost."""
        verdicts: dict[UUID, Verdict] = {}

        def judged(row: Row, states: Iterable[Recipient]) -> Verdict:
            verdicts[row["id"]] = verdict = judge(row, states)
            return verdict

        async with self._part.tx() as tx:
            await store.settle(tx, self._part.fold, self._handler, self.owner, leased, judged)
        for row in leased:
            if verdict := verdicts.get(row["id"]):
                self.meter.ended(row["channel"], verdict.state)
        return verdicts

    async def note(self, row: Row, answer: Answer) -> None:
        """Record one attempt: sent, failed, or to be tried again."""
        if answer.error is None:
            await self.settle([row], lambda *_: store.SENT)
            return
        if answer.gone:
            async with self._part.tx() as tx:
                await hooks.pause(tx, row["hook"], "triggers", answer.error)
        pause = None if answer.final else schedule.pause(row["attempts"], answer.retry_after)
        if pause is None:
            tries = "" if row["attempts"] == 1 else f" (attempt {row['attempts']})"
            failed = Verdict("failed", None, f"{answer.error}{tries}")
            await self.settle([row], lambda *_: failed)
            return
        async with self._part.tx() as tx:
            await store.again(tx, self._handler, self.owner, row, pause, answer.error)
        self.meter.ended(row["channel"], "again")

    async def postpone(self, until: list[tuple[Row, datetime]]) -> None:
        """Postpone messages until their quiet hours end."""
        async with self._part.tx() as tx:
            await store.postpone(tx, self._handler, self.owner, until)

    async def record(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write until it succeeds: an outage of the database must not lead to a second copy of a webhook."""
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
