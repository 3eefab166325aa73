"""Inboxes as streams, over real HTTP: nothing lost, nothing twice, however many follow."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime

import httpx
import pytest

from libs.common.db.pool import Database, Tx
from services.triggers import queries
from services.triggers.inbox import LOOK
from services.triggers.settings import Settings
from tests.integration.triggers.following import STREAM, followed, own, refused
from tests.integration.triggers.service import ANN, BEN, Triggers, known_as, order, serving
from tests.integration.triggers.test_messages import merge
from tests.integration.triggers.test_quiet_hours import now_quiet, over
from tests.support import eventually


async def test_messages_come_as_they_come(shop: Triggers) -> None:
    async with followed(shop.client, headers=own()) as stream:
        assert (await anext(stream)).name == "ready"
        await shop.journal(order(ANN, "a"), order(BEN, "b"), order(ANN, "c"))
        texts = [(await anext(stream)).data["text"] for _ in range(2)]
        assert sorted(texts) == ["a", "c"]
        await shop.journal(order(ANN, "d"))
        last = await anext(stream)
        assert last.name == "message"
        (shown, *_) = (await shop.get("customers/user:ann/inbox"))["items"]
        assert last.data == shown


@pytest.mark.parametrize("how", ["header", "query"])
async def test_who_comes_back_misses_nothing_and_gets_nothing_twice(shop: Triggers, how: str) -> None:
    heard: list[str] = []
    last = ""
    for number in range(12):
        headers = own()
        params: dict[str, str] = {}
        if last:
            headers |= {"Last-Event-ID": last} if how == "header" else {}
            params |= {"last_event_id": last} if how == "query" else {}
        async with followed(shop.client, headers=headers, params=params) as stream:
            last = (await anext(stream)).id
            if number == 0:
                await shop.journal(order(ANN, "n0"))
            event = await anext(stream)
            heard.append(event.data["text"])
            last = event.id
        # what comes while nobody follows, in several batches
        await shop.journal(order(ANN, f"n{number + 1}"))
    assert heard == [f"n{number}" for number in range(12)]


async def test_messages_of_several_processes_keep_one_order(shop: Triggers, triggers_settings: Settings) -> None:
    """A second process delivers too: who follows one of them hears each message once, in the order of the inbox."""
    async with serving(triggers_settings) as second, followed(second.client, headers=own()) as stream:
        await anext(stream)
        for number in range(40):
            await shop.append(order(ANN, f"n{number}"))
        heard = [(await anext(stream)).data for _ in range(40)]
        await shop.settled()
        assert len({each["id"] for each in heard}) == 40
        inbox = (await shop.get("customers/user:ann/inbox", limit=40))["items"]
        assert [each["id"] for each in heard] == [each["id"] for each in reversed(inbox)]


async def test_what_is_sent_at_once_and_what_waited_keep_one_order(shop: Triggers, triggers_settings: Settings) -> None:
    """Folds and deliveries of two processes write into one inbox: a follower misses nothing and gets nothing twice."""
    text = {"channel": "inbox", "text": "waited {{ event.properties.order_id }}"}
    await shop.hook(
        name="Waits", trigger={"event": "Order Completed"}, action=text, limits={"quiet_hours": now_quiet()}
    )
    async with serving(triggers_settings) as second, followed(second.client, headers=own()) as stream:
        await anext(stream)
        for number in range(40):
            await shop.append(order(ANN, f"n{number}"))
            if number % 5 == 0:
                await over(shop)

        async def all_sent() -> bool:
            await over(shop)
            return int((await shop.get("customers/user:ann/messages"))["counts"]["sent"]) == 81

        await eventually(all_sent)
        heard = [(await anext(stream)).data for _ in range(80)]
        inbox = (await shop.get("customers/user:ann/inbox", limit=80))["items"]
        assert [each["id"] for each in heard] == [each["id"] for each in reversed(inbox)]
        times = [datetime.fromisoformat(each["sent_at"]) for each in heard]
        assert times == sorted(set(times))


async def test_a_clock_that_is_behind_hides_no_message(shop: Triggers) -> None:
    """The newest message lies in the future, as if another process' clock were ahead."""
    await shop.database.pool.execute(
        "UPDATE triggers.deliveries SET settled_at = settled_at + interval '1 hour' WHERE customer = $1", ANN
    )
    async with followed(shop.client, headers=own()) as stream:
        await anext(stream)
        await shop.journal(order(ANN, "later"))
        assert (await anext(stream)).data["text"] == "later"


async def test_a_merge_goes_on_with_the_survivor_and_says_that_the_inbox_changed(shop: Triggers) -> None:
    async with (
        followed(shop.client, headers=own()) as anns,
        followed(shop.client, "/v1/customers/user:ben/inbox/stream", headers=own("user:ben")) as bens,
    ):
        place = (await anext(anns)).id
        await anext(bens)
        await shop.journal(*merge(BEN, ANN))
        # the other's message lies behind one's place, and is told, or before it: then the inbox has changed
        told = [(await anext(stream)).name for stream in (anns, bens)]
        assert sorted(told) == ["changed", "message"]
        await shop.journal(order(ANN, "together"))
        for stream in (anns, bens):
            assert (await anext(stream)).data["text"] == "together"
    # who was away meanwhile hears the same
    async with followed(shop.client, headers={**own(), "Last-Event-ID": place}) as stream:
        await anext(stream)
        assert [(await anext(stream)).name for _ in range(2)] == [told[0], "message"]


async def test_a_place_that_is_none_is_refused(shop: Triggers) -> None:
    for wrong in ("abc", "!!!", "A" * 90):
        status, said = await refused(shop, STREAM, {**own(), "Last-Event-ID": wrong})
        assert (status, "not one of this stream" in said) == (422, True)


async def test_so_many_may_follow(triggers_settings: Settings, database: Database) -> None:
    settings = triggers_settings.model_copy(update={"inbox_streams": 2})
    async with serving(settings) as shop:
        await shop.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
        async with followed(shop.client, headers=own()) as one, followed(shop.client, headers=own()) as two:
            await anext(one)
            await anext(two)
            assert (await refused(shop, STREAM, own()))[0] == 429

        async def free() -> bool:
            return await _opens_with(shop, own()) == 200

        assert await eventually(free)


async def _opens_with(triggers: Triggers, headers: dict[str, str]) -> int:
    async with (
        httpx.AsyncClient(base_url=triggers.client.base_url, timeout=60) as http,
        http.stream("GET", STREAM, headers=headers) as answer,
    ):
        return answer.status_code


async def test_one_look_serves_all(shop: Triggers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many follow, the database is asked no more often."""
    asked: list[int] = []
    real = queries.come

    async def counted(tx: Tx, followed: Sequence[queries.Followed], limit: int) -> dict[int, list[queries.Row]]:
        asked.append(len(followed))
        return await real(tx, followed, limit)

    monkeypatch.setattr(queries, "come", counted)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        streams = []
        for number in range(24):
            ref = "user:ann" if number % 2 else "user:ben"
            path = f"/v1/customers/{ref}/inbox/stream"
            streams.append(await stack.enter_async_context(followed(shop.client, path, headers=own(ref))))
        for stream in streams:
            await anext(stream)
        await shop.journal(order(ANN, "a"), order(BEN, "b"))
        for number, stream in enumerate(streams):
            assert (await anext(stream)).data["text"] == ("a" if number % 2 else "b")
    assert len(asked) <= (time.monotonic() - started) / LOOK + 1
    assert max(asked) == 2  # two inboxes, each asked for once
