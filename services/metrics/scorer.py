"""Scores every customer by a fit, in batches, with commands that the fold's handler applies.

A batch is one transaction. It moves the fit's mark (compare-and-set), writes the customers' states and rows, and appends
the facts of those who changed band. A crash leaves whole batches, and the next start continues at the mark.
"""

import asyncio
from uuid import UUID

import numpy as np

from libs.common.contracts.money import exponent
from libs.common.db.errors import UNAVAILABLE
from libs.common.fold.commands import Commands
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.observability.telemetry import log
from libs.common.runtime.backoff import Backoff
from libs.common.runtime.component import Check
from libs.common.runtime.failpoints import failpoint
from services.metrics import fit_data, queries, store
from services.metrics.domain.inputs import Scored
from services.metrics.domain.scores import BANDS
from services.metrics.domain.state import Customer
from services.metrics.fit_data import Buyer
from services.metrics.queries import DONE, StoredFit

logger = log("scorer")

BATCH = 500


class Scorer:
    """Scores customers in the background, one task for each fit. At its start it continues the fits that a crash left."""

    name = "scorer"

    def __init__(self, part: ConsumerService, handler: DeciderHandler[Customer, None]) -> None:
        self._part = part
        self._handler = handler
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        async with self._part.read() as tx:
            for fit in await queries.unfinished_fits(tx):
                self.begin(fit)

    async def stop(self) -> None:
        """Finish the current batches; the next start continues with the rest."""
        self._stopping = True
        if tasks := list(self._tasks.values()):
            _, late = await asyncio.wait(tasks, timeout=5)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def check(self) -> Check:
        """Always well: only the database can delay scoring, and the fold reports that."""
        return Check(True, f"scoring by {len(self._tasks)} fits" if self._tasks else "")

    def begin(self, fit: UUID) -> "asyncio.Task[None]":
        """Start to score all customers by a fit, unless a task does so already. Returns that task."""
        if (task := self._tasks.get(fit)) is None:
            task = self._tasks[fit] = asyncio.create_task(self._score(fit), name=f"scoring {fit}")
            task.add_done_callback(lambda _: self._tasks.pop(fit, None))
        return task

    async def _score(self, id: UUID) -> None:
        backoff = Backoff()
        while not self._stopping:
            try:
                while await self._batch(id) and not self._stopping:
                    backoff.reset()
                return
            except UNAVAILABLE as error:
                logger.warning("scoring paused", fit=str(id), error=repr(error))
                await asyncio.sleep(backoff.pause())
            except Exception as error:  # the next start tries again; until then the fit's status is `scoring`
                logger.error("scoring failed", fit=str(id), exc_info=error)
                return

    async def _batch(self, id: UUID) -> bool:
        """Score the next customers. Returns whether there may be more."""
        async with self._part.read() as tx:
            fit = await queries.fit(tx, id)
            if fit.status == DONE:
                return False
            found = await fit_data.buyers(tx, fit.as_of, fit.currency, fit.reached, BATCH)
        bodies = await asyncio.to_thread(scores_of, fit, found)
        commands = Commands(self._part.fold, self._handler)
        async with self._part.tx() as tx:
            if not await store.advance(tx, fit, found[-1].customer if found else None, len(found)):
                return True  # another process has scored these customers
            if bodies:
                applied = await commands.run_many(tx, bodies, key=f"fit {fit.id}", at=fit.created_at)
                await store.keep_score_commands(tx, fit.id, applied)
            failpoint("scorer.appended")
        failpoint("scorer.committed")
        return bool(found)


def scores_of(fit: StoredFit, buyers: list[Buyer]) -> dict[UUID, Scored]:
    """The scores of these customers by a fit. CPU work: call it in a thread.

    A customer's mean spend is over all their repeat days, in the fit's currency.
    """
    if not buyers:
        return {}
    today = fit.as_of.toordinal()
    x, first, last, total = np.array(
        [(each.x, each.first.toordinal(), each.last.toordinal(), each.total) for each in buyers], dtype=np.float64
    ).T
    mean = total / np.maximum(x, 1) / 10 ** exponent(fit.currency)
    figures = fit.score_model.scores(x, (last - first) / 7, (today - first) / 7, mean)
    return {
        each.customer: Scored(
            fit=str(fit.id),
            fit_number=fit.number,
            as_of=fit.as_of,
            currency=fit.currency,
            risk=round(float(figures.risk[i]), 6),
            risk_band=BANDS[figures.risk_band[i]],
            cltv=round(float(figures.cltv[i]), 4),
            value_band=BANDS[figures.value_band[i]],
            worth=round(float(figures.worth[i]), 4),
            expected_purchases=round(float(figures.expected_purchases[i]), 6),
            x=each.x,
            first=each.first,
            last=each.last,
        )
        for i, each in enumerate(buyers)
    }
