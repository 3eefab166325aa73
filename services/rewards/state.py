"""A customer's account: a part for each feature that keeps something. Stored as compact JSON."""

from typing import Any

import msgspec

from services.rewards.features import FEATURES

#: `account.ledger`, `account.badges` and so on: each of its feature's type.
Account: Any = msgspec.defstruct(
    "Account",
    [
        (feature.name, feature.state, msgspec.field(default_factory=feature.state))
        for feature in FEATURES
        if feature.state is not None
    ],
    omit_defaults=True,
    module=__name__,
)


def part(account: Any, name: str) -> Any:
    """A feature's part; None when it keeps nothing."""
    return getattr(account, name, None)


def standing(account: Any) -> dict[str, dict[str, int]]:
    """What a customer holds of each feature."""
    return {feature.name: feature.standing(part(account, feature.name)) for feature in FEATURES}
