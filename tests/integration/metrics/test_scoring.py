"""Scoring in the midst of life: crashes, late orders, merges, fits of several days and currencies."""

import asyncio
import signal
from datetime import date
from uuid import UUID

import httpx
import pytest

from libs.common.contracts.metrics import METRICS
from libs.common.db.pool import Database
from libs.common.settings import Settings
from tests.integration.metrics.conftest import ANALYST, Journal, Metrics, cdnow_records, customer, own, service
from tests.integration.metrics.process import answers, process
from tests.support import eventually
from tests.unit.metrics.cdnow import CALIBRATION_END, HOLDOUT_END, customers

MIDDLE, END = CALIBRATION_END, HOLDOUT_END
PEOPLE = 1179  # each second one of CDNOW's sample


@pytest.mark.parametrize(("point", "said"), [("scorer.appended", 500), ("scorer.committed", 1000)])
async def test_killed_in_mid_scoring_and_resumed(settings: Settings, database: Database, point: str, said: int) -> None:
    """Whatever is lost, each customer is scored by the fit, and each change is said once."""
    await Journal(database).append(cdnow_records(2))
    async with process(settings, f"{point}=kill:2") as (child, client):
        await eventually(lambda: answers(client))
        await eventually(lambda: _caught_up(client))
        with pytest.raises(httpx.TransportError):
            await client.post("/v1/fits", json={"as_of": str(END)}, headers=ANALYST)
        assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
    async with database.connection() as tx:
        assert await tx.fetchval(f'SELECT count(*) FROM log."{METRICS}"') == said
    async with service(own(settings), database) as metrics:
        await eventually(lambda: _done(metrics))
        again = await metrics.fit(as_of=str(END))
        assert (again["status"], again["scored"], again["changed"]) == ("done", PEOPLE, PEOPLE)
        assert len({key for key, _ in await metrics.facts()}) == len(await metrics.facts()) == PEOPLE
        assert await metrics.rows("SELECT count(*), count(DISTINCT fit) FROM metrics.scores") == [(PEOPLE, 1)]


async def _caught_up(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/readyz")).json()["lag"]["records"] == 0)


async def _done(metrics: Metrics) -> bool:
    return await metrics.rows("SELECT status FROM metrics.fits") == [("done",)]


async def test_life_between_fits(metrics: Metrics) -> None:
    journal = metrics.journal
    await metrics.told(*cdnow_records(4))
    first = await metrics.fit(as_of=str(MIDDLE))
    assert first["scored"] == first["changed"] == 590
    ((gone,), (stays,)) = await metrics.rows("SELECT customer FROM metrics.scores WHERE x > 0 ORDER BY 1 LIMIT 2")

    # who buys after the fit has no score yet, and hears so
    newcomer = customer("newcomer")
    await metrics.told(journal.order(newcomer, "new", END, 10))
    assert "after the last fit's day" in await _no_score(metrics, newcomer)

    # a merge leaves one score; a cancelled only order none
    await metrics.told(*journal.merge(gone, stays))
    assert await metrics.rows("SELECT 1 FROM metrics.scores WHERE customer = $1", gone) == []
    assert (await metrics.get(f"/v1/customers/{gone}/score"))["customer"] == str(stays)
    await metrics.told(*journal.merge(stays, newcomer))
    assert (await metrics.get(f"/v1/customers/{gone}/score"))["customer"] == str(newcomer)
    sample, once = next((sample, one) for sample, one in list(customers().items())[::4] if len(one.orders) == 1)
    await metrics.told(journal.event(customer(sample), "Order Cancelled", END, order_id=next(iter(once.orders))))
    assert "no order of theirs is known" in await _no_score(metrics, customer(sample))

    # the purchases up to the day have changed: another fit, of as many as are left; only other bands are news
    said = len(await metrics.facts())
    second = await metrics.fit(as_of=str(MIDDLE))
    assert second["id"] != first["id"]
    assert second["scored"] == second["customers"] == 588
    assert len(await metrics.facts()) == said + second["changed"]
    assert second["changed"] < 30


async def _no_score(metrics: Metrics, customer: UUID) -> str:
    answer = await metrics.client.get(f"/v1/customers/{customer}/score", headers=ANALYST)
    assert answer.status_code == 404
    return str(answer.json()["detail"])


async def test_another_currency_is_a_look_and_scores_nobody(metrics: Metrics) -> None:
    journal = metrics.journal
    euros = [
        journal.order(
            customer(sample), f"eur-{order}", date.fromordinal(bought.day), bought.minor / 50 + 1, currency="EUR"
        )
        for sample, one in list(customers().items())[::4]
        for order, bought in one.orders.items()
    ]
    await metrics.told(*cdnow_records(4), *euros)
    looked = await metrics.fit(as_of=str(END), currency="EUR")
    assert (looked["currency"], looked["status"], looked["scored"]) == ("EUR", "done", 0)
    fit = await metrics.fit(as_of=str(END))
    assert fit["bgnbd"] == looked["bgnbd"]
    assert fit["gamma_gamma"] != looked["gamma_gamma"]
    assert fit["scored"] == 590


async def test_two_fits_asked_at_once_leave_the_later_days_scores(metrics: Metrics) -> None:
    await metrics.told(*cdnow_records(2))
    early, late = await asyncio.gather(metrics.fit(as_of=str(MIDDLE)), metrics.fit(as_of=str(END)))
    assert early["status"] == late["status"] == "done"
    held = await metrics.rows("SELECT fit::text, count(*) FROM metrics.scores GROUP BY fit")
    assert held == [(late["id"], PEOPLE)]
    last = dict(await metrics.facts())
    bands = await metrics.rows("SELECT customer::text, risk_band, value_band FROM metrics.scores")
    assert {row[0]: row[1:] for row in bands} == {key: (fact.risk_band, fact.value_band) for key, fact in last.items()}
