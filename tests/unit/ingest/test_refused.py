"""What is kept of an event that breaks the tracking plan can be sent again by itself."""

from datetime import UTC, datetime, timedelta

import msgspec

from libs.common.contracts import records
from services.ingest.build_records import BuiltRecords, EntryRules, add_event, build_records
from services.ingest.domain import body
from services.ingest.domain.reading.sound import Delivery
from services.ingest.plan.compiled import CompiledPlan
from tests.unit.ingest.test_plan import GRANT, NOW, plan

REFUSES = EntryRules(
    plan=CompiledPlan(plan("refuse", Paid={"required": ["amount"]}, Identified={"required": ["plan"]}))
)
BATCH = {
    "sentAt": "2026-02-28T23:00:00Z",  # an hour slow
    "context": {"locale": "de", "traits": {"city": "Graz"}},
    "batch": [
        {
            "type": "track",
            "event": "Paid",
            "userId": " ann ",
            "messageId": "m" * 120,
            "timestamp": "2026-02-28T22:50:00Z",
        },
        {"type": "identify", "userId": 7, "anonymousId": "null", "messageId": "i", "traits": {"a": "x\0"}},
        {"type": "track", "event": "Paid", "userId": "bob"},
    ],
}


def test_it_becomes_the_same_record() -> None:
    payload = body.batch(msgspec.json.encode(BATCH))
    stored = build_records(payload, None, GRANT, NOW, None)
    refused = build_records(payload, None, GRANT, NOW, None, REFUSES)
    assert [result.status for result in refused.results] == ["rejected"] * 3
    again, later = BuiltRecords(), NOW + timedelta(days=2)
    for each in refused.refused:
        delivery = Delivery(received_at=NOW, currency="USD")
        add_event(again, each.body, delivery, "/apps/shop", EntryRules(), later, None)
    for first, second in zip(stored.records[:2], again.records[:2], strict=True):
        one, other = records.decode(first.value), records.decode(second.value)
        assert (one.id, one.time, bytes(one.data), first.key) == (other.id, other.time, bytes(other.data), second.key)
        assert other.recordedtime == later
    assert records.decode(again.records[0].value).time == datetime(2026, 2, 28, 23, 50, tzinfo=UTC)
    made = refused.refused[2].message_id  # one was made: it stays the same
    assert (
        made
        == refused.results[2].messageId
        == msgspec.json.decode(records.decode(again.records[2].value).data)["messageId"]
    )


def test_what_is_said_of_refused_events() -> None:
    payload = body.single(b'{"event": "Paid", "userId": "ann", "messageId": "m"}')
    (planned,) = build_records(payload, "track", GRANT, NOW, None, REFUSES).refused
    assert (planned.type, planned.message_id, planned.event) == ("track", "m", "Paid")
    (bad,) = build_records(body.single(b'{"event": "Paid", "messageId": 7}'), "track", GRANT, NOW, None).refused
    assert (bad.type, bad.message_id, bad.event) == ("track", "7", "Paid")
