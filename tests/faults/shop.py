"""The rules that a run plays by, as JSON for the services; the model knows the same ones by its own constants."""

from typing import Any

POINTS_PER_MAJOR = 2
BONUS, BONUS_ABOVE = 50, 100
REVIEW_POINTS = 10
LEVELS = (("silver", 100), ("gold", 400))
#: Badge: which event, how many of it, and whether it is earned again and again.
BADGES = {
    "first": ("Order Completed", 1, False),
    "regular": ("Order Completed", 2, True),
    "critic": ("Review Written", 2, False),
}
WEBHOOK_ABOVE = 50
#: Decimals of each currency that the workload uses (ISO 4217).
DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0}

#: Segments by how many orders they ask for, and how many points; and a computed trait.
BUYERS, RICH = 2, 150
SEGMENTS = {
    "buyers": f"count('Order Completed', days=3650) >= {BUYERS}",
    "rich": f"customer.points >= {RICH}",
    "critics": "customer.traits.reviews >= 1",
}
COMPUTED_TRAIT = {"name": "reviews", "value": "count('Review Written')"}

PROGRAMME: dict[str, Any] = {
    "name": "Under fire",
    "earning": [
        {
            "id": "spend",
            "on": "Order Completed",
            "earn": {"points": POINTS_PER_MAJOR, "per": 1, "of": "revenue"},
        },
        {
            "id": "big",
            "on": "Order Completed",
            "when": f"event.properties.revenue > {BONUS_ABOVE}",
            "earn": {"points": BONUS},
        },
        {"id": "review", "on": "Review Written", "earn": {"points": REVIEW_POINTS}},
    ],
    "levels": [{"id": id, "name": id.capitalize(), "points": points} for id, points in LEVELS],
    "badges": [
        {"id": id, "name": id.capitalize(), "on": on, "count": count, "repeatable": repeatable}
        for id, (on, count, repeatable) in BADGES.items()
    ],
}


def hooks(receiver: str) -> dict[str, dict[str, Any]]:
    """The hooks by what the model calls them; a message's text is the event's `marker` alone."""
    said = "{{ event.properties.marker }}"
    history = {"history": True}  # late events are told of too: what is sent must not depend on when they came
    return {
        "webhook": {
            "name": "Orders to the shop",
            "trigger": {"event": "Order Completed", "when": f"event.properties.revenue > {WEBHOOK_ABOVE}"},
            "action": {"channel": "webhook", "purpose": "service", "text": said, "url": receiver},
            "limits": history,
        },
        "inbox": {
            "name": "Thanks for a review",
            "trigger": {"event": "Review Written"},
            "action": {"channel": "inbox", "purpose": "service", "title": "Thanks", "text": said},
            "limits": history,
        },
        "badge": {
            "name": "A badge",
            "trigger": {"event": "Badge Earned"},
            "action": {
                "channel": "inbox",
                "purpose": "service",
                "title": "A badge",
                "text": "{{ event.properties.badge }}",
            },
            "limits": history,
        },
    }
