"""Terms: what searches find a customer by. Pure; a customer's terms follow from their state alone.

- `trait.plan=gold`: the value of a trait, if it is text, a number or a boolean, and short.
- `consent.marketing.email=granted`: what they allow.
- `text:ann`: a word of their name, their e-mail, and its domain (`text:@example.org`).

Capital and small letters make no difference.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from services.profile.domain.consent import Choice, statuses
from services.profile.domain.state import Customer, Trait

#: Longer texts are not found.
LONGEST = 100
#: Of more traits only the first by name are found.
TRAITS = 100
NAMES = ("name", "firstName", "lastName", "first_name", "last_name", "username")
EMAIL = "email"
_WORDS = 10
_SCALAR = b'"-0123456789tf'


class Findable(NamedTuple):
    """What searches find and rank a customer by, as it is at a moment."""

    traits: Mapping[str, Trait]
    consent: Mapping[str, Choice]
    ranks: Mapping[str, int]

    @classmethod
    def of(cls, state: Customer) -> "Findable":
        return cls(dict(state.traits), state.consent, _ranks(state))


#: Of a customer who is not stored yet.
NOTHING = Findable({}, {}, {})


class Changes(NamedTuple):
    """Terms that a customer has lost and gained."""

    gone: set[str]
    new: set[str]


def changes(before: Findable, after: Findable) -> Changes:
    """How terms change. It costs as much as what differs."""
    old, new = _found(before.traits), _found(after.traits)
    differing = [name for name in old.keys() | new.keys() if _text(old, name) != _text(new, name)]
    gone = {term for name in differing for term in _of_trait(name, old.get(name))}
    come = {term for name in differing for term in _of_trait(name, new.get(name))}
    if any(name in NAMES or name == EMAIL for name in differing):
        gone |= set(_words(before.traits))
        come |= set(_words(after.traits))
    if before.consent != after.consent:
        gone |= _of_consent(before.consent)
        come |= _of_consent(after.consent)
    return Changes(gone - come, come - gone)


def trait_term(name: str, value: str) -> str:
    """The term of a trait's value, as it is written in a search."""
    return f"trait.{name}={value.casefold()}"


def consent_term(key: str, status: str) -> str:
    """The term of a status of consent; `key` is `contracts.consent`'s."""
    return f"consent.{key}={status}"


def text_term(word: str) -> str:
    """The term of a word, or with the beginning of one the beginning of its terms."""
    return f"text:{word.casefold()}"


def words_match(traits: Mapping[str, Trait], identifiers: Iterable[str], words: Iterable[str]) -> bool:
    """Whether something that a customer is found by begins with each of the words."""
    terms = [*_words(traits)]
    values = [ref.partition(":")[2] for ref in identifiers]
    return all(
        any(term.startswith(text_term(word)) for term in terms) or any(value.startswith(word) for value in values)
        for word in words
    )


def _ranks(state: Customer) -> dict[str, int]:
    """By what a customer is ranked among those who have ordered: `orders`, and `revenue.USD` in minor units."""
    paid = {f"revenue.{currency}": minor for currency, minor in state.revenue.items()}
    return {"orders": state.completed, **paid} if state.completed else paid


def _found(traits: Mapping[str, Trait]) -> Mapping[str, Trait]:
    return traits if len(traits) <= TRAITS else {name: traits[name] for name in sorted(traits)[:TRAITS]}


def _text(traits: Mapping[str, Trait], name: str) -> bytes | None:
    return None if (trait := traits.get(name)) is None else trait.text


def _of_trait(name: str, trait: Trait | None) -> Iterator[str]:
    value = None if trait is None else _scalar(trait)
    if value is not None and len(name) <= LONGEST and "\0" not in name:
        yield trait_term(name, value)


def _of_consent(consent: Mapping[str, Choice]) -> set[str]:
    return {consent_term(key, status) for key, status in statuses(consent).items()}


def _words(traits: Mapping[str, Trait]) -> Iterator[str]:
    for name in NAMES:
        if (trait := traits.get(name)) is not None and (value := _scalar(trait)) is not None:
            yield from (text_term(word) for word in value.split()[:_WORDS])
    if (trait := traits.get(EMAIL)) is not None and (value := _scalar(trait)) is not None:
        yield text_term(value)
        if "@" in value:
            yield text_term(value[value.rindex("@") :])


def _scalar(trait: Trait) -> str | None:
    """A trait's value as text; None if it has no term."""
    text = trait.text
    if not text or text[0] not in _SCALAR or len(text) > 4 * LONGEST + 2:
        return None
    value = msgspec.json.decode(text)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    value = str(value)
    return value if 0 < len(value) <= LONGEST and "\0" not in value else None
