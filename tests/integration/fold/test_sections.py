"""Sections: loaded when a record names them or `decide` asks, and in the end as if all had been in memory all the time."""

import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from libs.common.contracts.input import Input
from libs.common.contracts.records import decode
from libs.common.contracts.registry import BY_TYPE
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import Conflict
from libs.common.fold.commands import Commands
from libs.common.fold.dead_letters import DeadLetters
from libs.common.fold.decider import Applied, Merged
from libs.common.fold.section_store import PAGE
from libs.common.fold.sections import Every, NotLoaded, One
from libs.common.log.append import Outgoing
from libs.common.replay import out_of_band
from libs.common.replay.run import compared
from libs.common.settings import Settings
from tests.integration.fold.toy import Running
from tests.integration.fold.wallet import FACTS, Spend, Wallet, Wallets, replayable
from tests.integration.fold.world import CUSTOMERS, NOW, customer_in, dead, journal, left, merged
from tests.support import eventually, journal_record

ONE, OTHER = customer_in(1), customer_in(2)


@pytest.fixture
async def wallets(toy: Database) -> AsyncIterator[Running]:
    async with Running(toy, Wallets()) as service:
        yield service


def bought(customer: str, order: str, points: int, at: int = 0) -> Outgoing:
    data = {"event": "Bought", "order": order, "points": points, "at": at}
    return journal_record(customer, data, id=f"b-{customer}-{order}")


def refunded(customer: str, order: str) -> Outgoing:
    return journal_record(customer, {"event": "Refunded", "order": order}, id=f"r-{customer}-{order}")


async def spend(service: Running, customer: str, points: int, key: str) -> int:
    commands = Commands(service.fold, service.handler)
    told = await commands.run(uuid.UUID(customer), Spend(points), key=key, at=NOW, answer=_balance)
    return int(told["balance"])


def _balance(applied: Applied[Any]) -> dict[str, int]:
    return {"balance": applied.state.balance}


class Model:
    """The same decider with everything in memory."""

    def __init__(self) -> None:
        self.decider: Any = Wallets()
        self.wallets = {customer: Wallet() for customer in [*CUSTOMERS, ONE, OTHER]}

    def tell(self, record: Outgoing) -> None:
        self.apply(record.key, self.decider.read(decode(record.value), 0))

    def apply(self, customer: str, body: Any) -> None:
        wallet, input = self.wallets[customer], Input("", "", "", NOW, NOW, 0, False, None, body)
        self.decider.evolve(wallet, input, self.decider.decide(wallet, input, 0))

    def merge(self, survivor: str, other: str) -> None:
        self.decider.absorb(self.wallets[survivor], self.wallets[other])
        self.wallets[other] = Wallet()
        self.apply(survivor, Merged(uuid.UUID(other)))

    def stored(self) -> dict[str, Any]:
        """Balance and sections of each customer, as JSON."""
        found = {}
        for customer, wallet in self.wallets.items():
            sections = [
                (kind, key, msgspec.to_builtins(value), value.at if kind == "lot" and value.remaining else None)
                for kind in ("lot", "order")
                for key, value in wallet.sections.every(kind).items()
            ]
            if sections or wallet.balance:
                found[customer] = wallet.balance, sections
        return found


async def stored(database: Database) -> dict[str, Any]:
    async with database.connection() as tx:
        states = await tx.fetch("SELECT id, state FROM toy.customers WHERE state <> ''")
        rows = await tx.fetch(
            'SELECT customer, kind, key, value, rank FROM toy.sections ORDER BY customer, kind, key COLLATE "C"'
        )
    found = {}
    for row in states:
        of = [(each["kind"], each["key"], msgspec.json.decode(each["value"]), each["rank"])
              for each in rows if each["customer"] == row["id"]]  # fmt: skip
        balance = msgspec.json.decode(row["state"], type=Wallet).balance
        if of or balance:
            found[str(row["id"])] = balance, of
    return found


async def test_a_history_comes_out_as_if_all_were_in_memory_and_is_replayed(
    wallets: Running, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of all partitions, refunds whose lots nobody named, commands that spend the oldest first, chains of merges."""
    chance, model, database = random.Random(3), Model(), wallets.database  # noqa: S311
    living = list(CUSTOMERS)
    for step in range(12):
        told: list[Outgoing] = []
        for n in range(25):
            customer, order = chance.choice(living), f"o{chance.randrange(30)}"
            told.append(
                bought(customer, order, chance.randrange(1, 50), chance.randrange(9))
                if n % 3
                else refunded(customer, order)
            )
        if step % 3 == 2:
            gone, stays = living.pop(), living[0]
            told += [left(gone, stays), merged(stays, gone)]
        for record in told:
            if b'"type":"customer.merged' in record.value:
                model.merge(living[0], gone)
            elif b'"type":"customer.left' not in record.value:
                model.tell(record)
        await journal(database, *told)
        await eventually(wallets.caught_up)
        customer = chance.choice(living)
        points = model.wallets[customer].balance * 2 // 3
        await spend(wallets, customer, points, f"spend-{step}")
        model.apply(customer, Spend(points))
        with pytest.raises(Conflict):
            await spend(wallets, customer, model.wallets[customer].balance + 1, f"too-much-{step}")
    assert await dead(database) == []
    assert await stored(database) == model.stored()
    for type, fact in FACTS.items():
        monkeypatch.setitem(BY_TYPE, type, fact)
    monkeypatch.setattr(out_of_band, "written_by", lambda service: REWARDS)
    found = await compared(replayable(), settings, settings)
    assert found.equal, found
    assert next(table for table in found.tables if table.table == "sections").rows > 100


async def test_open_ones_are_read_page_by_page_as_far_as_they_are_needed(wallets: Running) -> None:
    """And those of one rank in the order of their keys."""
    orders = [bought(ONE, f"{number:04}", 2, number // 3) for number in range(3 * PAGE)]
    await journal(wallets.database, *orders)
    await eventually(wallets.caught_up)
    assert await spend(wallets, ONE, 1, "a") == 6 * PAGE - 1
    assert await spend(wallets, ONE, 5 * PAGE, "b") == PAGE - 1
    (balance, sections) = (await stored(wallets.database))[ONE]
    left_over = [(key, value["remaining"]) for kind, key, value, _ in sections if kind == "lot" and value["remaining"]]
    assert balance == sum(remaining for _, remaining in left_over)
    assert [key for key, _ in left_over] == [f"{number:04}" for number in range(3 * PAGE - len(left_over), 3 * PAGE)]
    async with wallets.database.connection() as tx:
        ranked = await tx.fetchval("SELECT count(*) FROM toy.sections WHERE kind = 'lot' AND rank IS NOT NULL")
        assert ranked == len(left_over)
        assert await tx.fetchval("SELECT octet_length(state) FROM toy.customers WHERE id = $1", uuid.UUID(ONE)) < 30


async def test_a_dead_letter_is_replayed_with_its_sections(wallets: Running) -> None:
    wrong = journal_record(ONE, {"event": "Refunded", "order": 7}, id="wrong")
    await journal(wallets.database, bought(ONE, "x", 10), wrong, bought(ONE, "y", 5))
    await eventually(wallets.caught_up)
    (id,) = await DeadLetters(wallets.fold).waiting()
    await DeadLetters(wallets.fold).replay(id, "anna", {"event": "Refunded", "order": "x"})
    balance, sections = (await stored(wallets.database))[ONE]
    assert balance == 5
    assert [each[:2] for each in sections] == [("lot", "y"), ("order", "x"), ("order", "y")]


async def test_evolve_may_not_look_for_what_decide_did_not(wallets: Running) -> None:
    """That is a mistake of ours, found at once, and the record does not count."""
    await journal(wallets.database, bought(ONE, "x", 10))
    await eventually(wallets.caught_up)
    await journal(wallets.database, journal_record(ONE, {"event": "Careless"}, id="careless"))
    await eventually(wallets.caught_up)
    ((id, error),) = await dead(wallets.database)
    assert id == "careless"
    assert "evolve uses a section that decide did not load" in error
    assert (await stored(wallets.database))[ONE][0] == 10


async def test_what_is_read_of_a_customer_says_what_it_has_not_loaded(wallets: Running) -> None:
    await journal(wallets.database, bought(ONE, "x", 10), bought(OTHER, "x", 3))
    await eventually(wallets.caught_up)
    customers, id = wallets.handler.customers, uuid.UUID(ONE)
    async with wallets.database.connection() as tx:
        bare: Any = await customers.state(tx, id)
        one: Any = await customers.state(tx, id, One("order", "x"), One("order", "y"))
        whole: Any = await customers.state(tx, id, Every())
    with pytest.raises(NotLoaded):
        bare.sections.get("order", "x")
    assert (one.sections.get("order", "x").points, one.sections.get("order", "y")) == (10, None)
    assert whole.sections.every("lot").keys() == {"x"}
