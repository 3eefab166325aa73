"""Orders, refunds, cancellations and merges in any order: the rows and totals are what the purchases say."""

from collections import Counter
from datetime import date
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.db.pool import Database
from libs.common.log.append import Outgoing
from libs.common.log.partition import partition_of
from libs.common.settings import Settings
from services.metrics.domain.book import Key, Line, book, cell
from services.metrics.domain.decide import cell_of
from services.metrics.domain.histogram import Cell
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.state import Customer
from tests.integration.metrics.conftest import Metrics, customer, own, service
from tests.integration.metrics.process import killed_at
from tests.support import journal_record

ANN, BOB, CYD = customer("ann"), customer("bob"), customer("cyd")
MONDAY, TUESDAY, FRIDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 6)


async def consistent(metrics: Metrics) -> None:
    """Rows and totals equal those made anew from the customers' states."""
    books: dict[UUID, dict[Key, Line]] = {}
    for id, value in await metrics.rows("SELECT customer, value FROM metrics.sections WHERE kind = 'order'"):
        for key, line in book(msgspec.json.decode(value, type=Purchases)).items():
            books.setdefault(id, {})[key] = books.get(id, {}).get(key, Line(0, 0, 0)).plus(line)
    rows = await metrics.rows("SELECT id, state FROM metrics.customers WHERE state <> ''")
    spans = {id: msgspec.json.decode(state, type=Customer).span for id, state in rows}
    assert {id: cell_of(span) for id, span in spans.items() if span} == {
        id: cell(each) for id, each in books.items() if each
    }
    lines: dict[Key, Line] = {}
    cells: Counter[Cell] = Counter()
    for each in books.values():
        cells.update([where] if (where := cell(each)) else [])
        for key, line in each.items():
            lines[key] = lines.get(key, Line(0, 0, 0)).plus(line)
    stored = await metrics.rows(
        "SELECT customer, day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days"
    )
    assert {(row[0], Key(*row[1:3])): Line(*row[3:]) for row in stored} == {
        (id, key): line for id, each in books.items() for key, line in each.items()
    }
    summed = await metrics.rows(
        "SELECT day, currency, sum(orders)::int, sum(net_minor)::int, sum(refunded_minor)::int FROM metrics.days GROUP BY 1, 2"
    )
    assert {Key(*row[:2]): Line(*row[2:]) for row in summed if any(row[2:])} == lines
    counted = await metrics.rows('SELECT x, span, "first", sum(n)::int FROM metrics.histogram GROUP BY 1, 2, 3')
    assert {Cell(*row[:3]): row[3] for row in counted if row[3]} == cells
    active = await metrics.rows("SELECT day, count(*) FROM metrics.active_days GROUP BY day")
    totals = await metrics.rows("SELECT day, sum(customers)::int FROM metrics.active_totals GROUP BY day")
    assert dict(active) == {day: n for day, n in totals if n}


async def test_a_refund_before_and_after_its_order(metrics: Metrics) -> None:
    journal = metrics.journal
    refund = journal.event(ANN, "Order Refunded", FRIDAY, order_id="a", revenue=10)
    await metrics.told(refund)
    assert (await metrics.get("/v1/metrics/summary"))["orders"] == 0
    await metrics.told(journal.order(ANN, "a", MONDAY, 29.33), journal.order(BOB, "b", MONDAY, 5))
    await metrics.told(journal.event(BOB, "Order Refunded", FRIDAY, order_id="b"))
    summary = await metrics.get("/v1/metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["refunded"]) == (2, {"USD": "19.33"}, {"USD": "15.00"})
    assert (summary["first_day"], summary["last_day"]) == ("2026-03-02", "2026-03-02")
    assert summary["customers_with_orders"] == 2
    await consistent(metrics)


async def test_an_order_told_twice_counts_once_and_a_cancelled_one_not(metrics: Metrics) -> None:
    journal = metrics.journal
    await metrics.told(journal.order(ANN, "a", MONDAY, 10), journal.order(ANN, "a", TUESDAY, 10))
    await metrics.told(journal.event(ANN, "Order Cancelled", FRIDAY, order_id="z"), journal.order(ANN, "z", FRIDAY, 99))
    await metrics.told(journal.order(BOB, "b", FRIDAY, 7), journal.event(BOB, "Order Cancelled", FRIDAY, order_id="b"))
    summary = await metrics.get("/v1/metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["last_day"]) == (1, {"USD": "10.00"}, "2026-03-02")
    assert summary["customers_with_orders"] == 1
    await consistent(metrics)


async def test_currencies_are_never_added(metrics: Metrics) -> None:
    journal = metrics.journal
    await metrics.told(
        journal.order(ANN, "a", MONDAY, 10),
        journal.order(ANN, "b", MONDAY, 700, currency="jpy"),
        journal.event(BOB, "Order Completed", MONDAY, order_id="c"),
    )
    summary = await metrics.get("/v1/metrics/summary")
    assert summary["revenue"] == {"JPY": "700", "USD": "10.00"}
    assert summary["aov"] == {"JPY": "700", "USD": "5.00"}
    asked = {"from": "2026-03-02", "to": "2026-03-02"}
    assert (await metrics.get("/v1/kpis/revenue", currency="JPY", **asked))["items"][0]["value"] == "700"
    assert (await metrics.get("/v1/kpis/orders", **asked))["total"] == 3
    assert (await metrics.get("/v1/kpis/orders", currency="USD", **asked))["total"] == 2


async def test_a_merge_unites_purchases_and_counts_a_shared_day_once(metrics: Metrics) -> None:
    journal = metrics.journal
    await metrics.told(
        journal.order(ANN, "a", MONDAY, 10),
        journal.order(ANN, "shared", TUESDAY, 4),
        journal.event(ANN, "Product Viewed", FRIDAY),
        journal.order(BOB, "shared", TUESDAY, 4),
        journal.event(BOB, "Product Viewed", MONDAY),
    )
    asked = {"from": "2026-03-02", "to": "2026-03-06"}
    before = await metrics.get("/v1/kpis/active_customers", **asked)
    assert ([item["value"] for item in before["items"]], before["total"]) == ([2, 2, 0, 0, 1], 2)
    await metrics.told(*journal.merge(ANN, BOB))
    after = await metrics.get("/v1/kpis/active_customers", **asked)
    assert ([item["value"] for item in after["items"]], after["total"]) == ([1, 1, 0, 0, 1], 1)
    summary = await metrics.get("/v1/metrics/summary")
    assert (summary["orders"], summary["revenue"]) == (2, {"USD": "14.00"})
    assert (summary["customers_with_orders"], summary["repeat_rate"]) == (1, 1.0)
    assert await metrics.rows("SELECT DISTINCT customer FROM metrics.purchase_days") == [(BOB,)]
    await metrics.told(*journal.merge(BOB, CYD))
    assert await metrics.rows("SELECT DISTINCT customer FROM metrics.active_days") == [(CYD,)]
    await consistent(metrics)


async def test_a_day_is_the_workspaces(settings: Settings, database: Database) -> None:
    async with service(own(settings, workspace_timezone="Asia/Tokyo"), database) as metrics:
        await metrics.told(
            metrics.journal.order(ANN, "a", MONDAY, 10, hour=14), metrics.journal.order(BOB, "b", MONDAY, 3, hour=15)
        )
        asked = {"from": "2026-03-02", "to": "2026-03-03"}
        orders = await metrics.get("/v1/kpis/orders", **asked)
        assert [item["value"] for item in orders["items"]] == [1, 1]
        assert orders["timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"revenue": 1, "currency": "x" * 5000}, "is no currency"),
        ({"revenue": "lots"}, "properties.revenue"),
        ({"revenue": 1e30}, "not an amount of money"),
    ],
)
async def test_an_impossible_order_is_a_dead_letter_alone(
    metrics: Metrics, properties: dict[str, Any], said: str
) -> None:
    journal = metrics.journal
    bad = journal.event(ANN, "Order Completed", MONDAY, order_id="bad", **properties)
    await metrics.told(journal.order(ANN, "a", MONDAY, 10), bad, journal.order(ANN, "b", TUESDAY, 10))
    assert (await metrics.get("/v1/metrics/summary"))["orders"] == 2
    ((error,),) = await metrics.rows("SELECT error FROM metrics.dead_letters")
    assert said in error


async def test_what_is_no_order_may_have_any_properties(metrics: Metrics) -> None:
    journal = metrics.journal
    data = {"type": "page", "messageId": "p", "properties": {"revenue": []}}
    page = journal_record(str(BOB), data, id="p", type="page.v1")
    unknown = journal_record(str(BOB), {"x": 1}, id="u", type="planet.discovered.v9", source="/rewards")
    await metrics.told(journal.event(ANN, "Product Viewed", MONDAY, total="a lot", revenue=[]), page, unknown)
    assert await metrics.rows("SELECT 1 FROM metrics.dead_letters") == []
    assert len(await metrics.rows("SELECT 1 FROM metrics.active_days")) == 2


def history(metrics: Metrics, random: Random) -> list[Outgoing]:
    """Five customers who buy, return, cancel and look around, some things told twice."""
    told = []
    for _ in range(120):
        who, on = customer(f"c{random.randrange(5)}"), date(2026, 3, random.randint(1, 20))
        event = random.choice(["Order Completed"] * 2 + ["Order Refunded", "Order Cancelled", "Product Viewed"])
        order, revenue = f"o{random.randrange(30)}", random.randrange(50)
        told.append(metrics.journal.event(who, event, on, order_id=order, revenue=revenue))
    return told


@pytest.mark.parametrize("seed", range(2))
async def test_random_histories_in_batches_of_any_size(metrics: Metrics, seed: int) -> None:
    random = Random(seed)  # noqa: S311
    told = history(metrics, random)
    while told:
        size = random.choice([1, 3, 40])
        await metrics.told(*told[:size])
        told = told[size:]
    await metrics.told(*metrics.journal.merge(customer("c0"), customer("c1")))
    await metrics.told(*metrics.journal.merge(customer("c2"), customer("c1")))
    await consistent(metrics)
    assert partition_of(str(customer("c0")), 8) != partition_of(str(customer("c1")), 8)


@pytest.mark.parametrize("point", ["fold.written", "fold.committed"])
async def test_nothing_counts_twice_after_a_kill(settings: Settings, database: Database, point: str) -> None:
    async with service(own(settings), database) as metrics:
        told = history(metrics, Random(7))  # noqa: S311
        journal = metrics.journal
    await journal.append([*told, *journal.merge(customer("c0"), customer("c1"))])
    await killed_at(settings, f"{point}=kill:2")
    async with service(own(settings), database) as metrics:
        await metrics.caught_up()
        await consistent(metrics)
        ids: set[UUID] = {row[0] for row in await metrics.rows("SELECT DISTINCT customer FROM metrics.active_days")}
        assert ids == {customer(f"c{n}") for n in range(1, 5)}
