"""Orders, refunds, cancellations and merges in any order: the rows and totals are what the purchases say."""

import signal
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing
from libs.common.log.partition import partition_of
from services.metrics.domain.decide import cell_of_span
from services.metrics.domain.purchase_days import (
    DayKey,
    DaySums,
    PurchaseDays,
    add,
    purchase_days_of,
    rfm_cell,
)
from services.metrics.domain.purchases import Purchases
from services.metrics.domain.state import Customer
from services.metrics.settings import Settings
from tests.client import append_to
from tests.integration.metrics.service import Metrics, customer, event, merge, order, serving
from tests.process import ServiceProcess
from tests.support import journal_record

ANN, BOB, CYD = customer("ann"), customer("bob"), customer("cyd")
MONDAY, TUESDAY, FRIDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 6)


async def consistent(metrics: Metrics) -> None:
    """Rows and totals equal those made anew from the customers' states."""
    customers: dict[UUID, PurchaseDays] = {}
    for id, value in await metrics.rows("SELECT customer, value FROM metrics.sections WHERE kind = 'order'"):
        add(customers.setdefault(id, {}), purchase_days_of(msgspec.json.decode(value, type=Purchases)))
    rows = await metrics.rows("SELECT id, state FROM metrics.customers WHERE state <> ''")
    spans = {id: msgspec.json.decode(state, type=Customer).span for id, state in rows}
    assert {id: cell_of_span(span) for id, span in spans.items() if span} == {
        id: rfm_cell(days) for id, days in customers.items() if days
    }
    total: PurchaseDays = {}
    for days in customers.values():
        add(total, days)
    stored = await metrics.rows(
        "SELECT customer, day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days"
    )
    assert {(row[0], DayKey(*row[1:3])): DaySums(*row[3:]) for row in stored} == {
        (id, key): sums for id, days in customers.items() for key, sums in days.items()
    }
    summed = await metrics.rows(
        "SELECT day, currency, sum(orders)::int, sum(net_minor)::int, sum(refunded_minor)::int"
        " FROM metrics.daily_sales GROUP BY 1, 2"
    )
    assert {DayKey(*row[:2]): DaySums(*row[2:]) for row in summed if any(row[2:])} == total
    counted = await metrics.rows('SELECT x, span, "first", sum(customers)::int FROM metrics.rfm_cells GROUP BY 1, 2, 3')
    assert {row[:3]: row[3] for row in counted if row[3]} == Counter(
        rfm_cell(days) for days in customers.values() if days
    )
    active = await metrics.rows("SELECT day, count(*) FROM metrics.active_days GROUP BY day")
    totals = await metrics.rows("SELECT day, sum(customers)::int FROM metrics.daily_active GROUP BY day")
    assert dict(active) == {day: n for day, n in totals if n}


async def test_a_refund_before_and_after_its_order(metrics: Metrics) -> None:
    refund = event(ANN, "Order Refunded", FRIDAY, order_id="a", revenue=10)
    await metrics.journal(refund)
    assert (await metrics.get("metrics/summary"))["orders"] == 0
    await metrics.journal(order(ANN, "a", MONDAY, 29.33), order(BOB, "b", MONDAY, 5))
    await metrics.journal(event(BOB, "Order Refunded", FRIDAY, order_id="b"))
    summary = await metrics.get("metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["refunded"]) == (2, {"USD": "19.33"}, {"USD": "15.00"})
    assert (summary["first_day"], summary["last_day"]) == ("2026-03-02", "2026-03-02")
    assert summary["customers_with_orders"] == 2
    await consistent(metrics)


async def test_a_repeated_order_counts_once_and_a_cancelled_one_not(metrics: Metrics) -> None:
    await metrics.journal(order(ANN, "a", MONDAY, 10), order(ANN, "a", TUESDAY, 10))
    await metrics.journal(event(ANN, "Order Cancelled", FRIDAY, order_id="z"), order(ANN, "z", FRIDAY, 99))
    await metrics.journal(order(BOB, "b", FRIDAY, 7), event(BOB, "Order Cancelled", FRIDAY, order_id="b"))
    summary = await metrics.get("metrics/summary")
    assert (summary["orders"], summary["revenue"], summary["last_day"]) == (1, {"USD": "10.00"}, "2026-03-02")
    assert summary["customers_with_orders"] == 1
    await consistent(metrics)


async def test_currencies_are_never_added(metrics: Metrics) -> None:
    await metrics.journal(
        order(ANN, "a", MONDAY, 10),
        order(ANN, "b", MONDAY, 700, currency="jpy"),
        event(BOB, "Order Completed", MONDAY, order_id="c"),
    )
    summary = await metrics.get("metrics/summary")
    assert summary["revenue"] == {"JPY": "700", "USD": "10.00"}
    assert summary["aov"] == {"JPY": "700", "USD": "5.00"}
    asked = {"from": "2026-03-02", "to": "2026-03-02"}
    assert (await metrics.get("kpis/revenue", currency="JPY", **asked))["items"][0]["value"] == "700"
    assert (await metrics.get("kpis/orders", **asked))["total"] == 3
    assert (await metrics.get("kpis/orders", currency="USD", **asked))["total"] == 2


async def test_a_merge_unites_purchases_and_counts_a_shared_day_once(metrics: Metrics) -> None:
    await metrics.journal(
        order(ANN, "a", MONDAY, 10),
        order(ANN, "shared", TUESDAY, 4),
        event(ANN, "Product Viewed", FRIDAY),
        order(BOB, "shared", TUESDAY, 4),
        event(BOB, "Product Viewed", MONDAY),
    )
    asked = {"from": "2026-03-02", "to": "2026-03-06"}
    before = await metrics.get("kpis/active_customers", **asked)
    assert ([item["value"] for item in before["items"]], before["total"]) == ([2, 2, 0, 0, 1], 2)
    await metrics.journal(*merge(ANN, BOB))
    after = await metrics.get("kpis/active_customers", **asked)
    assert ([item["value"] for item in after["items"]], after["total"]) == ([1, 1, 0, 0, 1], 1)
    summary = await metrics.get("metrics/summary")
    assert (summary["orders"], summary["revenue"]) == (2, {"USD": "14.00"})
    assert (summary["customers_with_orders"], summary["repeat_rate"]) == (1, 1.0)
    assert await metrics.rows("SELECT DISTINCT customer FROM metrics.purchase_days") == [(BOB,)]
    await metrics.journal(*merge(BOB, CYD))
    assert await metrics.rows("SELECT DISTINCT customer FROM metrics.active_days") == [(CYD,)]
    await consistent(metrics)


async def test_a_day_is_in_the_workspaces_zone(metrics_settings: Settings) -> None:
    async with serving(metrics_settings.model_copy(update={"workspace_timezone": "Asia/Tokyo"})) as metrics:
        await metrics.journal(order(ANN, "a", MONDAY, 10, hour=14), order(BOB, "b", MONDAY, 3, hour=15))
        asked = {"from": "2026-03-02", "to": "2026-03-03"}
        orders = await metrics.get("kpis/orders", **asked)
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
    bad = event(ANN, "Order Completed", MONDAY, order_id="bad", **properties)
    await metrics.journal(order(ANN, "a", MONDAY, 10), bad, order(ANN, "b", TUESDAY, 10))
    assert (await metrics.get("metrics/summary"))["orders"] == 2
    ((error,),) = await metrics.rows("SELECT error FROM metrics.dead_letters")
    assert said in error


async def test_what_is_no_order_may_have_any_properties(metrics: Metrics) -> None:
    data = {"type": "page", "messageId": "p", "properties": {"revenue": []}}
    page = journal_record(str(BOB), data, id="p", type="page.v1")
    unknown = journal_record(str(BOB), {"x": 1}, id="u", type="planet.discovered.v9", source="/rewards")
    await metrics.journal(event(ANN, "Product Viewed", MONDAY, total="a lot", revenue=[]), page, unknown)
    assert await metrics.rows("SELECT 1 FROM metrics.dead_letters") == []
    assert len(await metrics.rows("SELECT 1 FROM metrics.active_days")) == 2


def history(random: Random) -> list[Outgoing]:
    """Five customers who buy, return, cancel and look around, some events repeated."""
    events = []
    for _ in range(120):
        who, on = customer(f"c{random.randrange(5)}"), date(2026, 3, random.randint(1, 20))
        name = random.choice(["Order Completed"] * 2 + ["Order Refunded", "Order Cancelled", "Product Viewed"])
        id, revenue = f"o{random.randrange(30)}", random.randrange(50)
        events.append(event(who, name, on, order_id=id, revenue=revenue))
    return events


@pytest.mark.parametrize("seed", range(2))
async def test_random_histories_in_batches_of_any_size(metrics: Metrics, seed: int) -> None:
    random = Random(seed)  # noqa: S311
    events = history(random)
    while events:
        size = random.choice([1, 3, 40])
        await metrics.journal(*events[:size])
        events = events[size:]
    await metrics.journal(*merge(customer("c0"), customer("c1")))
    await metrics.journal(*merge(customer("c2"), customer("c1")))
    await consistent(metrics)
    assert partition_of(str(customer("c0")), 8) != partition_of(str(customer("c1")), 8)


@pytest.mark.parametrize("point", ["fold.written", "fold.committed"])
async def test_nothing_counts_twice_after_a_kill(
    metrics_settings: Settings, database: Database, tmp_path: Path, point: str
) -> None:
    await append_to(database, JOURNAL, *history(Random(7)), *merge(customer("c0"), customer("c1")))  # noqa: S311
    process = ServiceProcess("metrics", metrics_settings.dsn, tmp_path / "log", RAPPORT_FAILPOINTS=f"{point}=kill:2")
    assert await process.ended() == -signal.SIGKILL
    async with serving(metrics_settings) as metrics:
        await metrics.caught_up()
        await consistent(metrics)
        ids: set[UUID] = {row[0] for row in await metrics.rows("SELECT DISTINCT customer FROM metrics.active_days")}
        assert ids == {customer(f"c{n}") for n in range(1, 5)}
