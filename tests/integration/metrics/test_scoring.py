"""Scoring between crashes, late orders and merges, and by fits of several days and currencies."""

import asyncio
import signal
from datetime import date
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from libs.common.contracts.metrics import METRICS
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from services.metrics.settings import Settings
from tests.client import append_to, is_caught_up, token
from tests.integration.metrics.service import Metrics, cdnow_records, customer, event, merge, order, serving
from tests.process import ServiceProcess
from tests.support import eventually
from tests.unit.metrics.cdnow import CALIBRATION_END, HOLDOUT_END, customers

MIDDLE, END = CALIBRATION_END, HOLDOUT_END
CUSTOMERS = 1179  # every second one of CDNOW's sample


@pytest.mark.parametrize(("point", "appended"), [("scorer.appended", 500), ("scorer.committed", 1000)])
async def test_killed_while_scoring_and_continued(
    metrics_settings: Settings, database: Database, tmp_path: Path, point: str, appended: int
) -> None:
    """In the end the fit has scored each customer, and each change is one fact."""
    await append_to(database, JOURNAL, *cdnow_records(2))
    failpoint = f"{point}=kill:2"
    process = ServiceProcess("metrics", metrics_settings.dsn, tmp_path / "log", RAPPORT_FAILPOINTS=failpoint)
    try:
        await process.ready()
        async with httpx.AsyncClient(base_url=process.url, headers=token(), timeout=60) as client:
            await eventually(lambda: is_caught_up(database, "metrics"))
            with pytest.raises(httpx.TransportError):
                await client.post("/v1/fits", json={"as_of": str(END)})
        assert await process.ended() == -signal.SIGKILL
    finally:
        process.stop()
    assert await database.pool.fetchval(f'SELECT count(*) FROM log."{METRICS}"') == appended
    async with serving(metrics_settings) as metrics:
        await eventually(lambda: _done(metrics))
        again = await metrics.fit(as_of=str(END))
        assert (again["status"], again["scored"], again["changed"]) == ("done", CUSTOMERS, CUSTOMERS)
        facts = await metrics.score_facts()
        assert len({key for key, _ in facts}) == len(facts) == CUSTOMERS
        assert await metrics.rows("SELECT count(*), count(DISTINCT fit) FROM metrics.scores") == [(CUSTOMERS, 1)]


async def _done(metrics: Metrics) -> bool:
    return await metrics.rows("SELECT status FROM metrics.fits") == [("done",)]


async def test_purchases_and_merges_between_fits(metrics: Metrics) -> None:
    await metrics.journal(*cdnow_records(4))
    first = await metrics.fit(as_of=str(MIDDLE))
    assert first["scored"] == first["changed"] == 590
    ((gone,), (stays,)) = await metrics.rows("SELECT customer FROM metrics.scores WHERE x > 0 ORDER BY 1 LIMIT 2")

    # a customer who buys after the fit has no score yet
    newcomer = customer("newcomer")
    await metrics.journal(order(newcomer, "new", END, 10))
    assert "after the last fit's day" in await _no_score(metrics, newcomer)

    # a merge leaves one score, the cancellation of an only order none
    await metrics.journal(*merge(gone, stays))
    assert await metrics.rows("SELECT 1 FROM metrics.scores WHERE customer = $1", gone) == []
    assert (await metrics.get(f"customers/{gone}/score"))["customer"] == str(stays)
    await metrics.journal(*merge(stays, newcomer))
    assert (await metrics.get(f"customers/{gone}/score"))["customer"] == str(newcomer)
    sample, once = next((sample, one) for sample, one in list(customers().items())[::4] if len(one.orders) == 1)
    await metrics.journal(event(customer(sample), "Order Cancelled", END, order_id=next(iter(once.orders))))
    assert "we know no order of theirs" in await _no_score(metrics, customer(sample))

    # the purchases up to the day have changed, so this is another fit, of the customers left; only other bands are facts
    facts = len(await metrics.facts())
    second = await metrics.fit(as_of=str(MIDDLE))
    assert second["id"] != first["id"]
    assert second["scored"] == second["customers"] == 588
    assert len(await metrics.facts()) == facts + second["changed"]
    assert second["changed"] < 30


async def _no_score(metrics: Metrics, customer: UUID) -> str:
    return str((await metrics.ask("GET", f"customers/{customer}/score", 404))["detail"])


async def test_a_fit_in_another_currency_scores_nobody(metrics: Metrics) -> None:
    euros = [
        order(customer(sample), f"eur-{id}", date.fromordinal(bought.day), bought.minor / 50 + 1, currency="EUR")
        for sample, one in list(customers().items())[::4]
        for id, bought in one.orders.items()
    ]
    await metrics.journal(*cdnow_records(4), *euros)
    other = await metrics.fit(as_of=str(END), currency="EUR")
    assert (other["currency"], other["status"], other["scored"]) == ("EUR", "done", 0)
    fit = await metrics.fit(as_of=str(END))
    assert fit["bgnbd"] == other["bgnbd"]
    assert fit["gamma_gamma"] != other["gamma_gamma"]
    assert fit["scored"] == 590


async def test_two_fits_at_once_leave_the_scores_of_the_later_day(metrics: Metrics) -> None:
    await metrics.journal(*cdnow_records(2))
    early, late = await asyncio.gather(metrics.fit(as_of=str(MIDDLE)), metrics.fit(as_of=str(END)))
    assert early["status"] == late["status"] == "done"
    held = await metrics.rows("SELECT fit::text, count(*) FROM metrics.scores GROUP BY fit")
    assert held == [(late["id"], CUSTOMERS)]
    last = dict(await metrics.score_facts())
    bands = await metrics.rows("SELECT customer::text, risk_band, value_band FROM metrics.scores")
    assert {row[0]: row[1:] for row in bands} == {key: (fact.risk_band, fact.value_band) for key, fact in last.items()}
