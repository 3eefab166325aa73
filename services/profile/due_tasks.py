"""Tells of tasks that become due: `Task Due`, once for each."""

from datetime import UTC, datetime
from uuid import UUID

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.fold.service import ConsumerService
from libs.common.runtime.periodic import PeriodicTask
from services.profile import tasks
from services.profile.commands import Commands
from services.profile.domain.commands import TellDueTask

logger = structlog.get_logger()

#: Tasks that are read at once.
PAGE = 100


class DueTasks(PeriodicTask):
    """A component. Several processes may do so at once: the command finds out under the customer's lock whether another was
    faster. `refused` are tasks that this release cannot tell of; the log says why."""

    name = "due tasks"
    every = 1.0

    def __init__(self, part: ConsumerService, commands: Commands) -> None:
        super().__init__()
        self._part = part
        self._commands = commands
        self.refused: set[UUID] = set()

    async def tell(self, now: datetime) -> int:
        """Tell of all tasks that are due by `now`; returns how many. Each is a command of its own."""
        told = 0
        while True:
            async with self._part.read() as tx:
                found = await tasks.due(tx, now, list(self.refused), PAGE)
            for task in found:
                try:
                    await self._commands.run(task.customer, TellDueTask(task.id), at=task.due)
                    told += 1
                except (*UNAVAILABLE, Unavailable):
                    raise
                except Exception as error:
                    self.refused.add(task.id)
                    logger.exception("a task cannot be told of", task=str(task.id), error=repr(error))
            if len(found) < PAGE:
                return told

    async def _run_once(self) -> None:
        if told := await self.tell(datetime.now(UTC)):
            logger.debug("tasks are due", tasks=told)
