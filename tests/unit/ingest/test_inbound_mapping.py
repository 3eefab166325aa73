"""What payloads become: by a mapping of one's own, and by the ready ones."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.errors import Invalid
from services.ingest.inbound.mapping import ITEMS, CompiledMapping, Delivery, InboundMapping, Mapped
from services.ingest.inbound.ready import READY

PAYLOAD = {"id": 7, "kind": "sale", "user": {"id": "ann"}, "cents": 2999, "at": 1769860800, "note": None,
           "lines": [{"sku": "a", "price": "1.50"}, {"sku": "b", "price": 2}]}  # fmt: skip


def mapping(*entries: dict[str, Any], **more: Any) -> CompiledMapping:
    return CompiledMapping(InboundMapping.model_validate({"events": list(entries), **more}))


def apply(made: CompiledMapping, payload: dict[str, Any], id: str = "d1", **headers: str) -> list[Mapped]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return made.apply(Delivery("hook", payload, named, id))


def events(made: CompiledMapping, payload: dict[str, Any], id: str = "d1", **headers: str) -> list[dict[str, Any]]:
    return [each.event for each in apply(made, payload, id, **headers) if each.event is not None]


SALE: dict[str, Any] = {
    "when": "payload.kind == 'sale' && headers['x-shop'] == 'north'",
    "event": {"value": "Sold"},
    "userId": "payload.user.id",
    "timestamp": "timestamp(payload.at)",
    "properties": {"revenue": "major(payload.cents, 'eur')", "lines": "payload.lines.map(l, {'s': l.sku})",
                   "sum": "sum(payload.lines.map(l, l.price))", "note": "payload.note", "coupon": "payload.coupon.code"},
}  # fmt: skip


def test_members_are_expressions_and_what_is_not_there_is_left_out() -> None:
    (mapped,) = apply(mapping(SALE), PAYLOAD, x_shop="north")
    assert mapped.event is not None
    id = mapped.event.pop("messageId")
    assert mapped.event == {
        "type": "track",
        "event": "Sold",
        "userId": "ann",
        "timestamp": "2026-01-31T12:00:00+00:00",
        "properties": {"revenue": 29.99, "lines": [{"s": "a"}, {"s": "b"}], "sum": 3.5},
    }
    assert mapped.left_out == ["properties.note is null", "properties.coupon: payload.coupon.code is not there"]
    (again,) = events(mapping(SALE), PAYLOAD, x_shop="north")
    (other,) = events(mapping(SALE), PAYLOAD, "d2", x_shop="north")
    assert again["messageId"] == id != other["messageId"]


def test_payloads_that_are_not_meant_are_skipped_with_the_reason() -> None:
    skipped = apply(mapping(SALE, {**SALE, "when": "payload.kind"}), PAYLOAD, x_shop="south")
    assert [each.skipped for each in skipped] == ["when is false", "when is neither true nor false"]
    (absent,) = apply(mapping(SALE), {"kind": "sale"})
    assert absent.event is None
    assert absent.skipped is not None
    assert "is not there" in absent.skipped


def test_a_list_gives_an_event_for_each_item() -> None:
    made = mapping({"each": "payload.lines", "event": {"value": "Line"}, "userId": "payload.user.id",
                    "when": "item.sku != 'x'", "properties": {"sku": "item.sku"}})  # fmt: skip
    found = events(made, PAYLOAD)
    assert [event["properties"]["sku"] for event in found] == ["a", "b"]
    assert len({event["messageId"] for event in found}) == 2
    assert [each.skipped for each in apply(made, {**PAYLOAD, "lines": []})] == ["each gives no item"]
    assert [each.skipped for each in apply(made, {"user": {"id": "ann"}})] == ["each gives no item"]
    with pytest.raises(Invalid, match=r"events\[0\].each: it gives no list"):
        apply(made, {**PAYLOAD, "lines": "many"})
    with pytest.raises(Invalid, match="at most 100"):
        apply(made, {**PAYLOAD, "lines": [{"sku": "a"}] * (ITEMS + 1)})


def test_what_makes_it_count_once_is_the_mappings_choice() -> None:
    once = mapping({**SALE, "when": "true", "messageId": "'sale-' + string(payload.id)"})
    (first,), (second,) = events(once, PAYLOAD, "d1"), events(once, PAYLOAD, "d2")
    assert first["messageId"] == second["messageId"]
    by_delivery = mapping({**SALE, "when": "true"}, delivery="payload.id")
    (first,), (second,) = events(by_delivery, PAYLOAD, "d1"), events(by_delivery, PAYLOAD, "d2")
    assert first["messageId"] == second["messageId"]
    with pytest.raises(Invalid, match=r"messageId: payload.missing is not there"):
        apply(mapping({**SALE, "when": "true", "messageId": "payload.missing"}), PAYLOAD)


def test_an_id_that_is_null_or_empty_is_none_and_makes_no_two_events_one() -> None:
    made = mapping({"event": {"value": "Sold"}, "userId": "payload.user.id"}, delivery="payload.note")
    for note in (None, ""):
        (one,), (other,) = (events(made, PAYLOAD | {"note": note}, id) for id in ("d1", "d2"))
        assert one["messageId"] != other["messageId"]
        with pytest.raises(Invalid, match=r"events\[0\]\.messageId: it is null or empty"):
            apply(mapping({**SALE, "when": "true", "messageId": "payload.note"}), PAYLOAD | {"note": note})


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("payload.cents / 100.0", "write double"),
        ("major(payload.cents, 'euro')", "is no currency"),
        *((f"sum(['{text}'])", "sum takes numbers") for text in ("a", "NaN", "1e400", "1e999999999")),
        ("bytes('a')", "JSON does not have"),
    ],
)
def test_an_expression_that_fails_names_its_place(member: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as failed:
        apply(mapping({**SALE, "when": "true", "properties": {"revenue": member}}), PAYLOAD)
    assert "events[0].properties.revenue" in failed.value.detail


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"userId": "payload."}, "line 1, column"),
        ({"userId": "user.id"}, "user.id is unknown here"),
        ({"when": "payload.a ="}, "line 1"),
        ({"userId": "'" + "a" * 2_000 + "'"}, "at most 2000"),
        ({"user_id": "payload.id"}, "Extra inputs"),
        ({"type": "order"}, "'track'"),
    ],
)
def test_a_wrong_mapping_is_refused_before_anything_comes(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        mapping(entry)


SHOPIFY_ORDER: dict[str, Any] = {
    "id": 820982911946154500, "name": "#9999", "created_at": "2026-01-31T11:00:00-05:00", "total_price": "403.00",
    "currency": "EUR", "discount_codes": [], "cancelled_at": None, "refunds": [],
    "customer": {"id": 115310627314723950, "email": "john@example.com", "first_name": "John", "last_name": None, "phone": None},
    "line_items": [{"id": 1, "product_id": 632910392, "sku": "IPOD2008PINK", "title": "IPod", "price": "199.00", "quantity": 2}],
}  # fmt: skip


def test_shopify_orders() -> None:
    made = CompiledMapping(READY["shopify"].mapping)
    identified, ordered = events(made, SHOPIFY_ORDER, x_shopify_topic="orders/paid", x_shopify_webhook_id="w1")
    assert identified["type"] == "identify"
    assert identified["traits"] == {"email": "john@example.com", "firstName": "John"}
    assert (ordered["event"], ordered["userId"]) == ("Order Completed", "115310627314723950")
    assert "anonymousId" not in ordered
    properties = ordered["properties"]
    assert (properties["order_id"], properties["revenue"], properties["currency"]) == (
        "820982911946154500",
        "403.00",
        "EUR",
    )
    assert properties["products"] == [
        {"product_id": "632910392", "sku": "IPOD2008PINK", "name": "IPod", "price": "199.00", "quantity": 2}
    ]
    _, created = events(made, SHOPIFY_ORDER, x_shopify_topic="orders/create", x_shopify_webhook_id="w2")
    assert created["messageId"] == ordered["messageId"]


def test_shopify_guests_refunds_and_cancellations() -> None:
    made = CompiledMapping(READY["shopify"].mapping)
    guest = {**SHOPIFY_ORDER, "customer": None}
    (ordered,) = events(made, guest, x_shopify_topic="orders/create", x_shopify_webhook_id="w1")
    assert ordered["anonymousId"] == "shopify-order-820982911946154500"
    assert "userId" not in ordered
    refunds = [
        {"id": 5, "created_at": "2026-02-01T10:00:00Z", "note": None,
         "transactions": [{"kind": "refund", "status": "success", "amount": "10.10"},
                          {"kind": "refund", "status": "success", "amount": "0.20"},
                          {"kind": "refund", "status": "failure", "amount": "99.00"}]},
        {"id": 6, "created_at": "2026-02-01T10:00:00Z", "note": None, "transactions": []},
    ]  # fmt: skip
    updated = {**guest, "refunds": refunds}
    (refunded,) = events(made, updated, x_shopify_topic="orders/updated", x_shopify_webhook_id="w3")
    assert refunded["event"] == "Order Refunded"
    assert refunded["anonymousId"] == ordered["anonymousId"]
    assert refunded["properties"] == {
        "order_id": "820982911946154500",
        "refund_id": "5",
        "revenue": 10.3,
        "currency": "EUR",
    }
    (again,) = events(made, updated, x_shopify_topic="orders/updated", x_shopify_webhook_id="w4")
    assert again["messageId"] == refunded["messageId"]
    cancelled = {**SHOPIFY_ORDER, "cancelled_at": "2026-02-02T10:00:00Z", "cancel_reason": "customer"}
    (event,) = events(made, cancelled, x_shopify_topic="orders/cancelled", x_shopify_webhook_id="w5")
    assert (event["event"], event["timestamp"]) == ("Order Cancelled", "2026-02-02T10:00:00Z")


def stripe(type: str, object: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": "evt_1", "type": type, "created": 1769860800, "data": {"object": object, **data}}


def test_stripe_payments_and_refunds() -> None:
    made = CompiledMapping(READY["stripe"].mapping)
    intent = {"id": "pi_1", "amount_received": 2999, "currency": "eur", "customer": "cus_9", "metadata": {}}
    (paid,) = events(made, stripe("payment_intent.succeeded", intent))
    assert (paid["event"], paid["userId"], paid["timestamp"]) == ("Order Completed", "cus_9", 1769860800)
    assert paid["properties"] == {"order_id": "pi_1", "payment_id": "pi_1", "revenue": 29.99, "currency": "EUR"}
    own = {**intent, "customer": None, "metadata": {"user_id": "ann", "order_id": "1001"}}
    (paid,) = events(made, stripe("payment_intent.succeeded", own))
    assert (paid["userId"], paid["properties"]["order_id"]) == ("ann", "1001")
    assert "anonymousId" not in paid
    (guest,) = events(made, stripe("payment_intent.succeeded", {**intent, "customer": None}))
    assert guest["anonymousId"] == "pi_1"
    for currency, amount in (("jpy", 2999.0), ("ugx", 29.99), ("kwd", 2.999)):
        (paid,) = events(made, stripe("payment_intent.succeeded", {**intent, "currency": currency}))
        assert paid["properties"]["revenue"] == amount
    charge = {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 1500, "currency": "eur", "customer": "cus_9",
              "metadata": {}}  # fmt: skip
    (refunded,) = events(made, stripe("charge.refunded", charge, previous_attributes={"amount_refunded": 500}))
    assert refunded["properties"] == {"order_id": "pi_1", "refund_id": "ch_1:1500", "revenue": 10.0, "currency": "EUR"}
    assert events(made, stripe("customer.created", {"id": "cus_9"})) == []


def test_zendesk_tickets() -> None:
    made = CompiledMapping(READY["zendesk"].mapping)
    ticket = {"id": "5158", "requester_id": "8447", "subject": "Broken", "priority": "HIGH", "tags": ["a"],
              "via": {"channel": "web_service"}}  # fmt: skip
    payload = {"id": "e1", "type": "zen:event-type:ticket.created", "time": "2026-01-31T12:00:00Z", "detail": ticket}
    (opened,) = events(made, payload)
    assert (opened["event"], opened["userId"]) == ("Ticket Opened", "zendesk:8447")
    assert opened["properties"] == {"ticket_id": "5158", "subject": "Broken", "priority": "HIGH", "channel": "web_service",
                                    "tags": ["a"]}  # fmt: skip
    changed = {**payload, "type": "zen:event-type:ticket.status_changed"}
    (solved,) = events(made, {**changed, "event": {"current": "SOLVED", "previous": "OPEN"}})
    assert solved["event"] == "Ticket Solved"
    assert events(made, {**changed, "event": {"current": "OPEN", "previous": "NEW"}}) == []


def test_typeform_surveys() -> None:
    made = CompiledMapping(READY["typeform"].mapping)
    answers = [{"type": "number", "number": 9, "field": {"ref": "nps"}},
               {"type": "choice", "choice": {"label": "Price"}, "field": {"ref": "why"}}]  # fmt: skip
    response = {"form_id": "f1", "token": "t1", "submitted_at": "2026-01-31T12:00:00Z", "hidden": {"user_id": "ann"},
                "definition": {"title": "How are we?"}, "answers": answers}  # fmt: skip
    (answered,) = events(made, {"event_id": "e1", "event_type": "form_response", "form_response": response})
    assert (answered["event"], answered["userId"]) == ("Survey Answered", "ann")
    assert answered["properties"]["score"] == 9
    assert answered["properties"]["answers"] == [
        {"question": "nps", "answer": 9}, {"question": "why", "answer": {"label": "Price"}}
    ]  # fmt: skip
    unknown = {name: value for name, value in response.items() if name != "hidden"}
    (answered,) = events(made, {"event_id": "e2", "event_type": "form_response", "form_response": unknown})
    assert answered["anonymousId"] == "typeform-t1"
