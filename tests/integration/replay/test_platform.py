"""The whole platform in processes of its own, killed on the way; replayed, rebuilt and asked what if, while it runs."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from libs.common.contracts.triggers import MessageSent
from services.profile.domain import state
from services.profile.domain.consent import allowed
from tests.conftest import new_home
from tests.integration.replay.load import BADGE, BIG, NEWS, PROGRAMME, Shop, going_on

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    """A shop that has had a history: kills, changed rules, dead letters, merges by events and commands, opt-outs, fits."""
    home = new_home("rapport-replay-")
    try:
        async with Platform(home=home, port_base=free_base(), fsync=False) as platform, Api(platform) as api:
            shop = Shop(platform, api, seed=5)
            await lived(shop)
            yield shop
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def lived(shop: Shop) -> None:
    platform, api = shop.platform, shop.api
    await shop.post(shop.traffic(200))  # before anything is published
    programme = await shop.publish("rewards", "/v1/programmes", PROGRAMME)
    for hook in (BIG, BADGE, NEWS):
        await shop.publish("triggers", "/v1/hooks", hook)
    await shop.post(shop.traffic(300))
    as_of = await shop.real_purchases()
    async with going_on(shop):
        for victim in ("rewards", "triggers", "metrics", "profile"):
            await asyncio.sleep(1)
            await shop.poison(3)
            platform.services[victim].kill()
    await shop.caught_up()
    replayed = [await shop.settle_some(service) for service in ("rewards", "metrics")]
    assert all(replayed)
    assert (await api.post("metrics", "/v1/fits", {"as_of": str(as_of)}, role="analyst"))["scored"] > 300
    changed = {**PROGRAMME, "levels": [{"id": "platinum", "name": "Platinum", "points": 700}]}
    async with going_on(shop):
        await api.put("rewards", f"/v1/programmes/{programme['id']}", changed)
        await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
        hooks = (await api.get("triggers", "/v1/hooks"))["items"]
        big = next(hook for hook in hooks if hook["name"] == "Big order")
        await api.post("triggers", f"/v1/hooks/{big['id']}/pause", {"reason": "enough"})
        await asyncio.sleep(1)
        await api.post("triggers", f"/v1/hooks/{big['id']}/resume")
        known = [each["user_id"] for each in (await api.get("profile", "/v1/customers", limit=20))["items"]]
        users = [f"user:{user}" for user in known if user is not None]
        for keep, absorb in zip(users[:6:2], users[1:6:2], strict=True):
            await api.post("profile", "/v1/merges", {"keep": keep, "absorb": absorb}, role="operator")
        await shop.poison(3)
        for service in ("rewards", "metrics"):
            await shop.settle_some(service)
        platform.services["rewards"].kill()
        platform.services["triggers"].kill()
    await shop.caught_up()


async def rapport(shop: Shop, *words: str, failpoints: str = "") -> tuple[int, str]:
    """The command, as a person runs it beside the platform; its exit code and what it says."""
    environment = {**os.environ, "RAPPORT_HOME": str(shop.platform.home), "RAPPORT_FAILPOINTS": failpoints}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "deploy.cli", *words),
        cwd=ROOT,
        env={name: value for name, value in environment.items() if not name.endswith("DATABASE_URL")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode() + err.decode()


async def replayed(shop: Shop) -> dict[str, Any]:
    """What `rapport replay` finds: all equal."""
    code, said = await rapport(shop, "replay", "--json")
    found = json.loads(said)
    differing = [
        (
            each["service"],
            each["differing_facts"],
            [table for table in each["tables"] if table["differing"]],
            each["first"],
        )
        for each in found
        if each["differing_facts"] or any(table["differing"] for table in each["tables"])
    ]
    assert (code, differing) == (0, [])
    return {each["service"]: each for each in found}


async def test_everything_comes_out_the_same(shop: Shop) -> None:
    found = await replayed(shop)
    assert found.keys() == {"rewards", "triggers", "metrics"}
    assert all(each["facts"] > 50 for each in (found["rewards"], found["triggers"]))
    assert (await shop.api.get("triggers", "/v1/triggers/summary"))["by_hook"]["Badge"]["withheld"]["no_consent"] > 10


async def test_triggers_knows_the_consents_that_profile_holds(shop: Shop) -> None:
    """After merges, crashes and statements over REST: what delivery asks is what profile answers."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        held = await connection.fetch("SELECT id, state FROM profile.customers WHERE merged_into IS NULL")
        known = await connection.fetch("SELECT id, state FROM triggers.customers WHERE merged_into IS NULL")
    finally:
        await connection.close()
    asked = {row["id"]: msgspec.json.decode(row["state"] or b"{}").get("consent", {}) for row in known}
    allowed_by = {row["id"]: allowed(state.decode(row["state"]).consent) for row in held}
    assert sum(consent == {"marketing": False} for consent in allowed_by.values()) > 5
    assert {id: asked.get(id, {}) for id in allowed_by} == allowed_by


async def test_also_while_records_come_in(shop: Shop) -> None:
    async with going_on(shop):
        for _ in range(3):
            await replayed(shop)


async def test_a_rebuild_is_swapped_in_while_all_run(shop: Shop) -> None:
    """And what it was swapped in for is folded on, and still what the journal gives. It is stored as the live one was."""
    before = await stored(shop)
    for service in ("rewards", "triggers", "metrics"):
        async with going_on(shop):
            code, said = await rapport(shop, "rebuild", service)
            assert code == 0, said
            assert f"{service}: rebuilt the state from" in said
            await asyncio.sleep(1)
    await shop.caught_up()
    await replayed(shop)
    assert await sent_twice(shop) == 0
    assert await stored(shop) == before


@pytest.mark.parametrize("where", ["near", "folded", "swapped"])
async def test_a_rebuild_that_dies_leaves_the_live_state_as_it_was(shop: Shop, where: str) -> None:
    await shop.caught_up()
    before = await tables(shop)
    code, _ = await rapport(shop, "rebuild", "rewards", failpoints=f"rebuild.{where}=kill")
    assert code == -signal.SIGKILL
    assert await tables(shop) == before
    async with going_on(shop):
        code, said = await rapport(shop, "rebuild", "rewards")
        assert code == 0, said
    await shop.caught_up()
    assert await tables(shop) != before
    await replayed(shop)


async def stored(shop: Shop) -> dict[str, list[str] | None]:
    """How the tables of the services that were rebuilt are stored."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        rows = await connection.fetch(
            "SELECT oid::regclass::text, reloptions FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('rewards', 'triggers', 'metrics')"
        )
    finally:
        await connection.close()
    return {name: options for name, options in rows}


async def sent_twice(shop: Shop) -> int:
    """How many messages were told to be sent more than once."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        rows = await connection.fetch('SELECT value FROM log."triggers.facts"')
    finally:
        await connection.close()
    facts = [json.loads(row["value"]) for row in rows]
    sent = [fact["data"]["message"] for fact in facts if fact["type"] == MessageSent.TYPE]
    assert sent
    return len(sent) - len(set(sent))


async def tables(shop: Shop) -> dict[str, int]:
    """Rewards' tables, by the numbers under which PostgreSQL keeps them."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        rows = await connection.fetch(
            "SELECT relname, oid::bigint FROM pg_class WHERE relnamespace = 'rewards'::regnamespace AND relkind = 'r'"
        )
        return {row["relname"]: row["oid"] for row in rows}
    finally:
        await connection.close()


async def test_a_rebuild_leaves_the_schema_as_migrations_made_it(shop: Shop) -> None:
    """Indexes keep their names, so that later migrations find them."""
    connection = await asyncpg.connect(shop.platform.dsn)
    try:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname IN ('metrics', 'rewards', 'triggers')"
            " UNION ALL SELECT table_name, column_name || data_type || coalesce(column_default, '') || is_nullable"
            " FROM information_schema.columns WHERE table_schema IN ('metrics', 'rewards', 'triggers')"
        )
        before = {tuple(row) for row in await connection.fetch(query)}
        for service in ("rewards", "triggers", "metrics"):
            assert (await rapport(shop, "rebuild", service))[0] == 0
        assert {tuple(row) for row in await connection.fetch(query)} == before
        assert not await connection.fetch("SELECT 1 FROM pg_namespace WHERE nspname ~ '_(rebuild|replay|what_if)$'")
    finally:
        await connection.close()


async def test_what_if_as_a_command(shop: Shop, tmp_path: Path) -> None:
    await shop.caught_up()
    before = await tables(shop)
    for bound, kept in ((50, True), (10**9, False)):
        hook = {**BIG, "trigger": {"event": "Order Completed", "when": f"event.properties.revenue > {bound}"}}
        code, said = await rapport(shop, "replay", "--hook", written(tmp_path, hook), "--json")
        assert code == 0, said
        big = json.loads(said)["sums"].get("Big order", {"now": 1, "then": 1})
        assert (big["now"] == big["then"]) is kept, said[:2000]
        assert kept or (big["now"] > 0 and big["then"] == 0)
    twice = {**PROGRAMME, "earning": [{"id": "more", "earn": {"per": 1, "points": 9, "of": "revenue"}}]}
    code, said = await rapport(shop, "replay", "--programme", written(tmp_path, twice))
    assert code == 0, said
    assert "customers would be different" in said
    assert "→" in said
    code, said = await rapport(shop, "replay", "--programme", written(tmp_path, {"name": ""}))
    assert (code, "Traceback" in said) == (1, False)
    assert await tables(shop) == before


def written(folder: Path, content: dict[str, Any]) -> str:
    file = folder / "asked.json"
    file.write_text(json.dumps(content))
    return str(file)
