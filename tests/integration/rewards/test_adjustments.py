"""Adjustments: once per key, never below zero, beside a running fold."""

import asyncio

from tests.integration.rewards.service import ANN, BEN, Rewards, merge, order


async def test_an_adjustment_is_booked_and_told(rewards: Rewards) -> None:
    await rewards.publish()
    await rewards.journal(order(ANN, "o1", 10))
    answer = await rewards.adjust(ANN, 5, "key", "lost parcel")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["points"], body["balance"], body["reason"], body["customer"]) == (5, 25, "lost parcel", ANN)
    (line, _) = (await rewards.get(f"customers/{ANN}/statement"))["items"]
    assert (line["kind"], line["points"], line["balance"], line["reason"]) == ("adjusted", 5, 25, "lost parcel")
    assert line["transaction"] == body["transaction"]
    (fact,) = [fact for fact in await rewards.facts() if fact["type"] == "points.adjusted.v1"]
    assert fact["id"] == body["transaction"]
    assert fact["stamp"].startswith(("0/", "1/", "2/", "3/", "4/", "5/", "6/", "7/"))
    points = await rewards.get(f"customers/{ANN}/points")
    assert (points["available"], points["qualifying"]) == (25, 20)
    await rewards.check()


async def test_the_same_key_again_is_answered_again(rewards: Rewards) -> None:
    await rewards.journal(order(ANN, "o1", 10), order(BEN, "o2", 10))
    answers = await asyncio.gather(*(rewards.adjust(ANN, 5, "key") for _ in range(6)))
    settled = [answer for answer in answers if answer.status_code == 201]
    assert settled
    assert len({answer.text for answer in settled}) == 1
    again = await rewards.adjust(ANN, 5, "key")
    assert (again.status_code, again.text) == (201, settled[0].text)
    for other in (await rewards.adjust(ANN, 6, "key"), await rewards.adjust(BEN, 5, "key")):
        assert other.status_code == 409
        assert "was used for another request" in other.json()["detail"]
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 5


async def test_a_key_is_still_known_after_a_merge(rewards: Rewards) -> None:
    await rewards.journal(order(ANN, "o1", 10), order(BEN, "o2", 10))
    first = await rewards.adjust(BEN, 5, "key")
    await rewards.journal(*merge(ANN, BEN))
    assert (await rewards.adjust(BEN, 5, "key")).text == first.text
    assert (await rewards.get(f"customers/{BEN}/points"))["balance"] == 5
    await rewards.check()


async def test_no_more_is_taken_than_there_is(rewards: Rewards) -> None:
    await rewards.journal(order(ANN, "o1", 10))
    await rewards.adjust(ANN, 100)
    answers = await asyncio.gather(*(rewards.adjust(ANN, -30) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["detail"] == "the customer has 10 points, so 30 cannot be taken: take 10 at most"
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 10
    await rewards.check()


async def test_adjustments_race_with_the_fold_and_nothing_is_lost(rewards: Rewards) -> None:
    """Also for a customer whose row does not exist yet when both begin."""
    await rewards.publish()
    await rewards.journal(order(ANN, "seed", 1))

    async def buy() -> None:
        for number in range(40):
            await rewards.append(order(ANN, f"o{number}", 10), order(BEN, f"b{number}", 10))

    async def give() -> None:
        for _ in range(25):
            assert (await rewards.adjust(ANN, 3)).status_code == 201

    await asyncio.gather(buy(), give(), give())
    await rewards.caught_up()
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 2 + 40 * 20 + 50 * 3
    assert (await rewards.get(f"customers/{BEN}/points"))["balance"] == 40 * 20
    stamps = [fact["stamp"] for fact in await rewards.facts() if fact["subject"] == ANN]
    sequence = [int(stamp.rpartition("/")[2]) for stamp in stamps]
    assert sequence == list(range(1, len(stamps) + 1))
    await rewards.check()


async def test_what_an_adjustment_must_say(rewards: Rewards) -> None:
    await rewards.journal(order(ANN, "o1", 10))
    path = f"/v1/customers/{ANN}/adjustments"
    keyless = await rewards.client.post(path, json={"points": 1, "reason": "x"})
    assert keyless.status_code == 422
    assert "Idempotency-Key" in keyless.json()["detail"]
    for body, said in (
        ({"points": 0, "reason": "x"}, "0 points would change nothing"),
        ({"points": 1.5, "reason": "x"}, "body.points"),
        ({"points": 1}, "body.reason"),
        ({"points": 1, "reason": ""}, "body.reason"),
        ({"points": 10**13, "reason": "x"}, "body.points"),
        ({"points": 1, "reason": "x", "currency": "EUR"}, "body.currency"),
    ):
        answer = await rewards.client.post(path, json=body, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 0
