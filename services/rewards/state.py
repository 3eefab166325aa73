"""A customer's account: a part for each feature that has state. It is stored as compact JSON, and in sections."""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.fold.sections import Sectioned, SectionKinds, Sections, Wanted
from services.rewards.features import FEATURES


class _Account(Sectioned):
    """The parts share the account's sections; each feature has kinds of its own."""

    def hold(self, sections: Sections) -> None:
        super().hold(sections)
        for name in self.__struct_fields__:
            if isinstance(each := getattr(self, name), Sectioned):
                each.hold(sections)


#: `account.ledger`, `account.badges` and so on: each of its feature's type.
Account: Any = msgspec.defstruct(
    "Account",
    [
        (feature.name, feature.state, msgspec.field(default_factory=feature.state))
        for feature in FEATURES
        if feature.state is not None
    ],
    bases=(_Account,),
    omit_defaults=True,
    module=__name__,
)


def named(body: object, rules: object) -> Iterator[Wanted]:
    """The sections that a body needs, of all features."""
    for feature in FEATURES:
        yield from feature.named(body)


SECTIONS = SectionKinds({kind: type for feature in FEATURES for kind, type in feature.sections.items()}, named)


def part(account: Any, name: str) -> Any:
    """A feature's part; None if it has no state."""
    return getattr(account, name, None)


def standing(account: Any) -> dict[str, dict[str, int]]:
    """What a customer holds, by feature."""
    return {feature.name: feature.standing(part(account, feature.name)) for feature in FEATURES}
