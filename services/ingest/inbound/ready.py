"""Ready mappings, for what shops use most. Each is a mapping like those that users write: read it, change it, send your own.

Ids of customers: Shopify's customer number is taken as the userId as it is, Stripe's and Zendesk's customers and requesters
are ids of their own kind (`cus_…`, `zendesk:…`) unless the shop has given them its own.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Tag

from services.ingest.inbound.mapping import InboundMapping
from services.ingest.inbound.signatures import Form

ReadyName = Literal["shopify", "stripe", "zendesk", "typeform"]


class ReadyMapping(NamedTuple):
    """A mapping, the form of signature that its sender uses, and what the sender must be told to send."""

    signature: Form
    subscribe: str
    mapping: InboundMapping


_ORDER_TOPICS = "headers['x-shopify-topic'] in ['orders/create', 'orders/paid']"
_REFUND_TOPICS = "headers['x-shopify-topic'] in ['orders/updated', 'orders/paid', 'orders/cancelled']"
_SHOPIFY_WHO: dict[str, Any] = {
    "userId": "string(payload.customer.id)",
    "anonymousId": "has(payload.customer) && payload.customer != null ? dyn(null) : 'shopify-order-' + string(payload.id)",
}
_SHOPIFY: dict[str, Any] = {
    "delivery": "headers['x-shopify-webhook-id']",
    "events": [
        {
            "when": f"{_ORDER_TOPICS} && payload.customer != null",
            "type": "identify",
            "userId": "string(payload.customer.id)",
            "timestamp": "payload.created_at",
            "traits": {
                "email": "payload.customer.email",
                "firstName": "payload.customer.first_name",
                "lastName": "payload.customer.last_name",
                "phone": "payload.customer.phone",
            },
        },
        {
            "when": _ORDER_TOPICS,
            "event": {"value": "Order Completed"},
            **_SHOPIFY_WHO,
            "messageId": "'order-' + string(payload.id)",
            "timestamp": "payload.created_at",
            "properties": {
                "order_id": "string(payload.id)",
                "order_name": "payload.name",
                "revenue": "payload.total_price",
                "currency": "payload.currency",
                "coupon": "payload.discount_codes[0].code",
                "products": "payload.line_items.map(line, {'product_id': string(line.product_id), 'sku': line.sku,"
                " 'name': line.title, 'price': line.price, 'quantity': line.quantity})",
            },
        },
        {
            "when": "headers['x-shopify-topic'] == 'orders/cancelled'",
            "event": {"value": "Order Cancelled"},
            **_SHOPIFY_WHO,
            "messageId": "'cancelled-' + string(payload.id)",
            "timestamp": "payload.cancelled_at",
            "properties": {"order_id": "string(payload.id)", "reason": "payload.cancel_reason"},
        },
        {
            "when": f"{_REFUND_TOPICS} && item.transactions.exists(t, t.kind == 'refund' && t.status == 'success')",
            "each": "payload.refunds",
            "event": {"value": "Order Refunded"},
            **_SHOPIFY_WHO,
            "messageId": "'refund-' + string(item.id)",
            "timestamp": "item.created_at",
            "properties": {
                "order_id": "string(payload.id)",
                "refund_id": "string(item.id)",
                "revenue": "sum(item.transactions.filter(t, t.kind == 'refund' && t.status == 'success').map(t, t.amount))",
                "currency": "payload.currency",
                "reason": "item.note",
            },
        },
    ],
}

_OBJECT = "payload.data.object"
_STRIPE_USER = (
    f"has({_OBJECT}.metadata) && has({_OBJECT}.metadata.user_id) ? {_OBJECT}.metadata.user_id : {_OBJECT}.customer"
)
_STRIPE_GUEST = (
    "{object}.customer == null && !(has({object}.metadata) && has({object}.metadata.user_id)) ? {id} : dyn(null)"
)
#: Stripe counts these in hundredths, whatever ISO 4217 says of them.
_HUNDREDTHS = "['isk', 'ugx']"


def _stripe_amount(amount: str) -> str:
    return f"{_OBJECT}.currency in {_HUNDREDTHS} ? double({amount}) / 100.0 : major({amount}, {_OBJECT}.currency)"


_STRIPE: dict[str, Any] = {
    "delivery": "payload.id",
    "events": [
        {
            "when": "payload.type == 'payment_intent.succeeded'",
            "event": {"value": "Order Completed"},
            "userId": _STRIPE_USER,
            "anonymousId": _STRIPE_GUEST.format(object=_OBJECT, id=f"{_OBJECT}.id"),
            "timestamp": "payload.created",
            "properties": {
                "order_id": f"has({_OBJECT}.metadata) && has({_OBJECT}.metadata.order_id)"
                f" ? {_OBJECT}.metadata.order_id : {_OBJECT}.id",
                "payment_id": f"{_OBJECT}.id",
                "revenue": _stripe_amount(f"{_OBJECT}.amount_received"),
                "currency": f"{_OBJECT}.currency.upperAscii()",
            },
        },
        {
            "when": "payload.type == 'charge.refunded'",
            "event": {"value": "Order Refunded"},
            "userId": _STRIPE_USER,
            "anonymousId": _STRIPE_GUEST.format(object=_OBJECT, id=f"{_OBJECT}.payment_intent"),
            "timestamp": "payload.created",
            "properties": {
                "order_id": f"has({_OBJECT}.metadata) && has({_OBJECT}.metadata.order_id)"
                f" ? {_OBJECT}.metadata.order_id : {_OBJECT}.payment_intent",
                "refund_id": f"{_OBJECT}.id + ':' + string({_OBJECT}.amount_refunded)",
                "revenue": _stripe_amount(
                    f"({_OBJECT}.amount_refunded - (has(payload.data.previous_attributes) &&"
                    " has(payload.data.previous_attributes.amount_refunded)"
                    " ? payload.data.previous_attributes.amount_refunded : 0))"
                ),
                "currency": f"{_OBJECT}.currency.upperAscii()",
            },
        },
    ],
}

_ZENDESK_PROPERTIES = {
    "ticket_id": "string(payload.detail.id)",
    "subject": "payload.detail.subject",
    "priority": "payload.detail.priority",
    "channel": "payload.detail.via.channel",
    "tags": "payload.detail.tags",
}
_ZENDESK: dict[str, Any] = {
    "delivery": "payload.id",
    "events": [
        {
            "when": "payload.type == 'zen:event-type:ticket.created'",
            "event": {"value": "Ticket Opened"},
            "userId": "'zendesk:' + string(payload.detail.requester_id)",
            "timestamp": "payload.time",
            "properties": _ZENDESK_PROPERTIES,
        },
        {
            "when": "payload.type == 'zen:event-type:ticket.status_changed' && payload.event.current == 'SOLVED'",
            "event": {"value": "Ticket Solved"},
            "userId": "'zendesk:' + string(payload.detail.requester_id)",
            "timestamp": "payload.time",
            "properties": _ZENDESK_PROPERTIES,
        },
    ],
}

_TYPEFORM: dict[str, Any] = {
    "delivery": "payload.event_id",
    "events": [
        {
            "when": "payload.event_type == 'form_response'",
            "event": {"value": "Survey Answered"},
            "userId": "payload.form_response.hidden.user_id",
            "anonymousId": "has(payload.form_response.hidden) && has(payload.form_response.hidden.user_id)"
            " ? dyn(null) : 'typeform-' + payload.form_response.token",
            "timestamp": "payload.form_response.submitted_at",
            "properties": {
                "survey_id": "payload.form_response.form_id",
                "survey": "payload.form_response.definition.title",
                "score": "payload.form_response.answers.filter(a, a.type == 'number')[0].number",
                "answers": "payload.form_response.answers.map(a, {'question': a.field.ref, 'answer': a[a.type]})",
            },
        }
    ],
}

READY: dict[ReadyName, ReadyMapping] = {
    "shopify": ReadyMapping(
        "shopify",
        "orders/create or orders/paid, orders/updated (it carries refunds with their customer), orders/cancelled",
        InboundMapping.model_validate(_SHOPIFY),
    ),
    "stripe": ReadyMapping(
        "stripe",
        "payment_intent.succeeded and charge.refunded; metadata.user_id and metadata.order_id are read where they are set",
        InboundMapping.model_validate(_STRIPE),
    ),
    "zendesk": ReadyMapping(
        "zendesk",
        "ticket created and ticket status changed",
        InboundMapping.model_validate(_ZENDESK),
    ),
    "typeform": ReadyMapping(
        "typeform",
        "form responses; a hidden field user_id says who answers",
        InboundMapping.model_validate(_TYPEFORM),
    ),
}


def _given_as(mapping: object) -> str:
    return "ready" if isinstance(mapping, str) else "own"


AnyMapping = Annotated[
    Annotated[ReadyName, Tag("ready")] | Annotated[InboundMapping, Tag("own")], Discriminator(_given_as)
]


def chosen(mapping: ReadyName | InboundMapping) -> InboundMapping:
    """A ready mapping by its name, or one's own."""
    return mapping if isinstance(mapping, InboundMapping) else READY[mapping].mapping
