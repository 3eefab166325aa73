"""Notes, de-selection and relationships, over REST and through merges."""

from tests.integration.profile.service import Profile, both, event


async def _two(profile: Profile) -> None:
    """Ann, and a device that is nobody's yet."""
    await profile.tell(event("track", "ann", message="m1"), event("page", device="a1", message="m2"))


async def _merged(profile: Profile) -> None:
    await profile.tell(event("track", "ann", "a1", message="m9", minute=9))


async def test_notes_are_kept_once_paged_and_merged(profile: Profile) -> None:
    await _two(profile)
    for _ in range(2):
        key = {"Idempotency-Key": "k1"}
        first = await profile.ask("POST", "customers/user:ann/notes", 201, json={"text": "first"}, headers=key)
    other = await profile.post("customers/anon:a1/notes", {"text": "of the device"}, 201)
    await _merged(profile)
    last = await profile.post("customers/anon:a1/notes", {"text": "last"}, 201)
    page = await profile.get("customers/user:ann/notes", limit=2)
    assert page["items"] == [last, other]
    assert (await profile.get("customers/user:ann/notes", limit=2, cursor=page["next"])) == {
        "items": [first],
        "next": None,
    }
    added = [record for record in await profile.records() if record["type"] == "note.added.v1"]
    assert len(added) == 3
    assert all("text" not in record["data"] for record in added)
    for wrong in ("customers/user:ann/notes?cursor=x", "customers/ann/notes"):
        assert (await profile.ask("GET", wrong, 422))["detail"]
    assert (await profile.ask("POST", "customers/user:ann/notes", 422, json={"text": ""}))["detail"]


async def test_a_deselection_of_either_stays_at_a_merge_until_it_is_lifted(profile: Profile) -> None:
    await _two(profile)
    path = "customers/anon:a1/deselect"
    answers = await both(*(profile.post(path, {"reason": reason}) for reason in ("late", "rude")))
    assert len({answer["deselection"]["reason"] for answer in answers}) == 1  # the first one counts
    await _merged(profile)
    ann = await profile.get("customers/user:ann")
    assert ann["deselection"] == answers[0]["deselection"]
    lifted = await profile.post("customers/user:ann/reselect", {"reason": "has paid"})
    assert lifted["deselection"] is None
    await profile.post("customers/user:ann/reselect", {"reason": "again"})
    records = await profile.records()
    kinds = [record["type"] for record in records]
    assert (kinds.count("customer.deselected.v1"), kinds.count("customer.reselected.v1")) == (1, 1)
    snapshots = {record["type"]: record["data"]["customer"].get("deselected") for record in records}
    assert snapshots["customer.deselected.v1"] is True
    assert snapshots["customer.merged.v1"] is True
    assert snapshots["customer.reselected.v1"] is None


async def test_the_later_word_on_a_relationship_counts_until_it_is_derived_again(profile: Profile) -> None:
    await _two(profile)
    path = "customers/{}/relationship"
    await profile.put(path.format("user:ann"), {"kind": "advisory", "reason": "plans with us"})
    await profile.put(path.format("anon:a1"), {"kind": "transactional", "reason": "one-off"})
    await _merged(profile)
    relationship = (await profile.get("customers/user:ann"))["relationship"]
    assert (relationship["kind"], relationship["reason"]) == ("transactional", "one-off")
    assert relationship["set_by"]
    derived = await profile.put(path.format("user:ann"), {"kind": None, "reason": "mistaken"})
    assert derived["relationship"] == {
        "kind": "need_based",
        "reason": "has not ordered yet",
        "set_by": None,
        "set_at": None,
    }
    assert (await profile.ask("PUT", path.format("user:ann"), 422, json={"kind": "friend", "reason": "x"}))["detail"]
