"""The published purchases through the real fold: published parameters, predictions, and scores that a repeat leaves alone."""

from collections import Counter
from datetime import date, timedelta
from typing import Any, NamedTuple

import pytest

from services.metrics import fit_data
from services.metrics.domain.purchases import Purchases
from tests.integration.metrics.service import Metrics, cdnow_records, customer
from tests.unit.metrics.cdnow import CALIBRATION_END, HOLDOUT_END, customers
from tests.unit.metrics.columns import cells, recency, spend


class Shop(NamedTuple):
    """Metrics with all of CDNOW, its two fits, the number of facts after each, and the purchases themselves."""

    metrics: Metrics
    calibrated: dict[str, Any]
    final: dict[str, Any]
    facts: tuple[int, int]
    customers: dict[str, Purchases]


@pytest.fixture(scope="module")
async def shop(shared_metrics: Metrics) -> Shop:
    await shared_metrics.journal(*cdnow_records())
    calibrated = await shared_metrics.fit(as_of=str(CALIBRATION_END))
    first = len(await shared_metrics.facts())
    final = await shared_metrics.fit(as_of=str(HOLDOUT_END))
    return Shop(shared_metrics, calibrated, final, (first, len(await shared_metrics.facts())), customers())


async def test_the_published_parameters(shop: Shop) -> None:
    bgnbd, spending = shop.calibrated["bgnbd"], shop.calibrated["gamma_gamma"]
    assert [round(bgnbd[name], 3) for name in ("r", "alpha", "a", "b")] == [0.243, 4.414, 0.793, 2.426]
    assert [round(spending[name], 2) for name in ("p", "q", "gamma")] == [6.25, 3.74, 15.44]
    assert (round(bgnbd["log_likelihood"], 1), bgnbd["n"]) == (-9582.4, 2357)
    assert (round(spending["log_likelihood"], 2), spending["n"]) == (-4055.92, 946)
    assert bgnbd["standard_errors"].keys() == {"r", "alpha", "a", "b"}
    assert shop.calibrated["customers"] == 2357
    assert shop.calibrated["repeat_customers"] == 946
    assert shop.calibrated["status"] == "done"


async def test_the_holdout_compares_prediction_and_outcome(shop: Shop) -> None:
    compared = await shop.metrics.get(f"fits/{shop.calibrated['id']}/holdout", until=str(HOLDOUT_END))
    assert compared["predicted"] == pytest.approx(1653, abs=1)
    assert (compared["actual"], compared["weeks"], compared["customers"]) == (1882, 39.0, 2357)


async def test_the_summary_is_exact(shop: Shop) -> None:
    summary = await shop.metrics.get("metrics/summary")
    minor = sum(order.minor for one in shop.customers.values() for _, order in one.counted())
    assert summary["orders"] == 6919
    assert summary["revenue"] == {"USD": f"{minor // 100}.{minor % 100:02}"}
    assert summary["aov"] == {"USD": "35.28"}
    assert (summary["customers_with_orders"], summary["repeat_rate"]) == (2357, 0.4832)
    assert (summary["first_day"], summary["last_day"]) == ("1997-01-01", "1998-06-30")
    half = await shop.metrics.get("metrics/summary", until=str(CALIBRATION_END))
    assert (half["customers_with_orders"], half["repeat_customers"]) == (2357, 946)
    assert half["last_day"] == "1997-09-30"


@pytest.mark.parametrize("as_of", [date(1997, 1, 20), date(1997, 3, 1), CALIBRATION_END, HOLDOUT_END, date(1999, 1, 1)])
async def test_stored_and_recounted_cells_agree_with_the_purchases(shop: Shop, as_of: date) -> None:
    expected = cells(shop.customers.values(), as_of)
    async with shop.metrics.database.connection() as tx:
        assert await fit_data.cells(tx, as_of) == expected
        assert await fit_data.cells(tx, as_of, recount=True) == expected
        given = await fit_data.load(tx, as_of, "USD")
    spent = Counter(spend(one, as_of, "USD") for one in shop.customers.values())
    found = Counter({(days, round(total / days / 100, 6)): n for (days, total), n in given.spend.items()})
    assert found == Counter({(x, round(mean, 6)): n for (x, mean), n in spent.items() if x})


async def test_every_customer_is_scored_as_their_purchases_say(shop: Shop) -> None:
    scored = {row[0]: row[1:] for row in await shop.metrics.rows("SELECT customer, x, first, last FROM metrics.scores")}
    for sample, purchases in shop.customers.items():
        x, first, last = scored.pop(customer(sample))
        seen = recency(purchases, HOLDOUT_END)
        assert seen is not None
        assert (x, (last - first).days / 7, (HOLDOUT_END - first).days / 7) == seen
    assert not scored


async def test_only_another_band_is_a_fact(shop: Shop) -> None:
    first, second = shop.facts
    assert first == shop.calibrated["changed"] == 2357
    assert second - first == shop.final["changed"]
    assert 0 < shop.final["changed"] < 1500
    bands: dict[str, tuple[str, str]] = {}
    for key, fact in await shop.metrics.score_facts():
        assert bands.get(key) != (fact.risk_band, fact.value_band)
        bands[key] = (fact.risk_band, fact.value_band)
    held = await shop.metrics.rows("SELECT customer::text, risk_band, value_band FROM metrics.scores")
    assert {row[0]: row[1:] for row in held} == bands
    assert {(fact.fit, str(fact.as_of)) for _, fact in await shop.metrics.score_facts()} == {
        (shop.calibrated["id"], "1997-09-30"),
        (shop.final["id"], "1998-06-30"),
    }


async def test_a_repeated_request_is_the_same_fit_and_appends_no_fact(shop: Shop) -> None:
    scores = await shop.metrics.rows("SELECT * FROM metrics.scores ORDER BY customer")
    assert await shop.metrics.fit(as_of=str(CALIBRATION_END)) == shop.calibrated
    assert await shop.metrics.fit(as_of=str(HOLDOUT_END), currency="USD") == shop.final
    assert len(await shop.metrics.facts()) == shop.facts[1]
    assert await shop.metrics.rows("SELECT * FROM metrics.scores ORDER BY customer") == scores


async def test_a_fit_as_of_an_earlier_day_scores_nobody(shop: Shop) -> None:
    back = await shop.metrics.fit(as_of="1997-12-31")
    assert (back["status"], back["scored"]) == ("done", 0)
    assert await shop.metrics.rows("SELECT DISTINCT fit::text FROM metrics.scores") == [(shop.final["id"],)]
    assert len(await shop.metrics.facts()) == shop.facts[1]
    listed = await shop.metrics.get("fits", limit=2)
    assert [fit["id"] for fit in listed["items"]] == [back["id"], shop.final["id"]]
    rest = await shop.metrics.get("fits", limit=2, cursor=listed["next"])
    assert [fit["id"] for fit in rest["items"]] == [shop.calibrated["id"]]
    assert await shop.metrics.get(f"fits/{back['id']}") == back


async def test_the_most_valuable_at_risk(shop: Shop) -> None:
    ten = (await shop.metrics.get("scores", at_risk=True, limit=10))["items"]
    assert [item["worth"] for item in ten] == sorted((item["worth"] for item in ten), reverse=True)
    assert ten[0]["refs"] == ["user:1088"]
    assert ten[0]["explanation"] == (
        "Bought 17 times, about every 25 days, silent for 109 days, 4.4 times the usual gap;"
        " the chance of an order in the next 39 weeks is 43 %."
    )
    for item in ten:
        assert 0.5 <= item["risk"] <= 0.95
        assert item["worth"] > item["cltv"]
        assert item["purchase_days"] > 2
        assert item["fit"] == shop.final["id"]


@pytest.mark.parametrize("order", ["cltv", "risk", "worth"])
async def test_pages_of_scores_hold_everyone_once(shop: Shop, order: str) -> None:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await shop.metrics.get("scores", order=order, limit=200, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        cursor = page["next"]
    assert len({item["customer"] for item in found}) == len(found) == 2357
    assert [item[order] for item in found] == sorted((item[order] for item in found), reverse=True)
    if order == "risk":
        high = await shop.metrics.get("scores", order=order, risk_band="high", value_band="medium", limit=5)
        assert {(item["risk_band"], item["value_band"]) for item in high["items"]} == {("high", "medium")}


async def test_one_customers_score(shop: Shop) -> None:
    score = await shop.metrics.get("customers/user:1088/score")
    assert score["customer"] == str(customer("1088"))
    assert score == await shop.metrics.get(f"customers/{customer('1088')}/score")
    unknown = await shop.metrics.ask("GET", "customers/user:nobody/score", 404)
    assert "user:nobody" in unknown["detail"]


async def test_key_figures_by_day(shop: Shop) -> None:
    asked = {"from": "1997-01-01", "to": "1997-03-31"}
    figures = {
        name: await shop.metrics.get(f"kpis/{name}", **asked)
        for name in ("orders", "revenue", "aov", "active_customers", "repeat_rate")
    }
    assert all(len(figure["items"]) == 90 and figure["timezone"] == "UTC" for figure in figures.values())
    ordered = Counter(
        date.fromordinal(order.day) for one in shop.customers.values() for _, order in one.counted(date(1997, 3, 31))
    )
    assert {item["day"]: item["value"] for item in figures["orders"]["items"]} == {
        str(date(1997, 1, 1) + timedelta(days=n)): ordered[date(1997, 1, 1) + timedelta(days=n)] for n in range(90)
    }
    assert figures["orders"]["total"] == ordered.total()
    assert figures["active_customers"]["total"] == 2357
    assert figures["active_customers"]["items"][0]["value"] == sum(
        date(1997, 1, 1) in {date.fromordinal(order.day) for _, order in one.counted()}
        for one in shop.customers.values()
    )
    x = [recency(one, date(1997, 3, 31)) for one in shop.customers.values()]
    assert figures["repeat_rate"]["total"] == round(sum(seen.x > 0 for seen in x if seen) / len(x), 4)
    assert (figures["revenue"]["currency"], figures["orders"]["currency"]) == ("USD", None)
    first = figures["revenue"]["items"][0]["value"], figures["aov"]["items"][0]["value"]
    assert float(first[0]) / figures["orders"]["items"][0]["value"] == pytest.approx(float(first[1]), abs=0.005)


async def test_a_figure_before_all_orders_is_empty(shop: Shop) -> None:
    asked = {"from": "1990-01-01", "to": "1990-01-02"}
    values = {
        name: [item["value"] for item in (await shop.metrics.get(f"kpis/{name}", **asked))["items"]]
        for name in ("orders", "revenue", "aov", "repeat_rate")
    }
    assert values == {"orders": [0, 0], "revenue": ["0.00"] * 2, "aov": [None, None], "repeat_rate": [None, None]}
