"""Rewards' wake hints: what the live programme uses, because customers wait for their points and badges."""

from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold import rulebooks
from libs.common.fold.service import ConsumerService
from libs.common.log import wake_hints
from libs.common.runtime.periodic import PeriodicTask
from services.rewards.programme import Programme, names

_LIVE = "SELECT content FROM rewards.programmes WHERE status = 'live'"


async def declare(tx: Tx) -> None:
    """Declare what the live programme uses, and nothing else. In a transaction that holds the lock of the rulebooks; does
    not commit. Raises Unavailable when a newer release has published it, and this one cannot read it."""
    content = await tx.fetchval(_LIVE)
    try:
        used = names(Programme.model_validate_json(content)) if content else set()
    except ValueError as error:
        raise Unavailable(f"the live programme is of another release: {error}") from error
    await wake_hints.declare(tx, "rewards", used)


class WakeHintsRefresh(PeriodicTask):
    """A component: declares them again now and then, also for a programme that a process of an older release has published."""

    name = "wake hints"
    every = 60.0

    def __init__(self, part: ConsumerService) -> None:
        super().__init__()
        self._part = part

    async def _run_once(self) -> None:
        async with self._part.tx() as tx:
            await rulebooks.newest(tx, "rewards")  # nobody publishes meanwhile
            await declare(tx)
