"""Consent: what a customer allows, by purpose and channel. Pure rules; the result does not depend on the order of arrival.

- A *statement* is what the customer said: by the preference event, over REST, or by a confirmed link. The later one
  wins, by when it was made; of two at one moment, the denial.
- A statement about all channels holds for each of them, unless a later one is about that channel.
- Other events *carry* the setting of their app along. It counts like a statement, but never undoes a denial that the
  customer stated, because apps send an old setting for weeks.
- A *request* (double opt-in) is pending until a statement follows. It allows nothing.
- A merge keeps, for each purpose and channel, the later of the two customers' statements, carried settings and requests.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from libs.common.contracts.consent import Status

#: Purposes and channels of a customer, together. Further ones are refused.
MOST = 50


class Setting(msgspec.Struct, frozen=True, array_like=True):
    """Granted or denied, and when."""

    at: int
    granted: bool


class Outcome(NamedTuple):
    """The status that people see, and what a snapshot says. Both are None if nothing was ever said."""

    status: Status | None
    allowed: bool | None


class Choice(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one purpose and channel: the latest statement, carried setting and request."""

    said: Setting | None = None
    carried: Setting | None = None
    requested: int | None = None

    @property
    def setting(self) -> Setting | None:
        """What holds: the later of statement and carried setting, unless that would undo a stated denial."""
        if self.said is not None and not self.said.granted and self.carried is not None and self.carried.granted:
            return self.said
        return _later(self.said, self.carried)

    @property
    def outcome(self) -> Outcome:
        """What follows from it."""
        setting = self.setting
        if setting is not None and setting.granted:
            return Outcome("granted", True)
        allowed = None if setting is None else False
        if self.requested is not None and (setting is None or setting.at < self.requested):
            return Outcome("pending", allowed)
        return Outcome(None if setting is None else "denied", allowed)


#: Nothing was ever said.
NOTHING = Choice()


class Proof(NamedTuple):
    """Where a statement was made, under which version of the text, and by whose token."""

    source: str
    text_version: str | None = None
    by: str | None = None


class Statement(NamedTuple):
    """Something said of a purpose and channel; `pending` requests a confirmation. `carried`: an event brought it along."""

    key: str
    status: Status
    carried: bool = False

    def choice(self, at: int) -> Choice:
        if self.status == "pending":
            return Choice(requested=at)
        setting = Setting(at, self.status == "granted")
        return Choice(carried=setting) if self.carried else Choice(said=setting)


class Change(NamedTuple):
    """A customer's consent after some statements; those that the history keeps; and how many were refused."""

    consent: dict[str, Choice]
    kept: list[Statement]
    refused: int


def stated(consent: Mapping[str, Choice], statements: Iterable[Statement], at: int) -> Change:
    """Apply statements made `at` a time. The history keeps all but carried settings that repeat what was carried before."""
    change = Change(dict(consent), [], 0)
    for statement in statements:
        held = change.consent.get(statement.key)
        if held is None and len(change.consent) >= MOST:
            change = change._replace(refused=change.refused + 1)
            continue
        choice = statement.choice(at)
        if not _repeats(held, choice):
            change.kept.append(statement)
        change.consent[statement.key] = choice if held is None else united(held, choice)
    return change


def merged(ours: Mapping[str, Choice], theirs: Mapping[str, Choice]) -> dict[str, Choice]:
    """The consent of two customers who are one. If it is more than the limit, grants are dropped before denials."""
    both = dict(ours)
    for key, choice in theirs.items():
        both[key] = united(both[key], choice) if key in both else choice
    if len(both) <= MOST:
        return both
    kept = sorted(both, key=lambda key: (holds(both, key).outcome.allowed is True, key))[:MOST]
    return {key: both[key] for key in kept}


def united(one: Choice, other: Choice) -> Choice:
    """The later of each."""
    requests = [at for at in (one.requested, other.requested) if at is not None]
    return Choice(_later(one.said, other.said), _later(one.carried, other.carried), max(requests, default=None))


def holds(consent: Mapping[str, Choice], key: str) -> Choice:
    """What is known of a purpose and channel, together with what was said of all its channels."""
    own = consent.get(key, NOTHING)
    purpose, dot, _ = key.partition(".")
    return united(own, consent.get(purpose, NOTHING)) if dot else own


def statuses(consent: Mapping[str, Choice]) -> dict[str, Status]:
    """The status of each purpose and channel that something was said of, sorted."""
    found = ((key, holds(consent, key).outcome.status) for key in sorted(consent))
    return {key: status for key, status in found if status is not None}


def allowed(consent: Mapping[str, Choice]) -> dict[str, bool]:
    """What a snapshot says: whether each purpose and channel is granted. Pending ones are left out if nothing else was said."""
    found = ((key, holds(consent, key).outcome.allowed) for key in sorted(consent))
    return {key: allowed for key, allowed in found if allowed is not None}


def changed(before: Mapping[str, Choice], after: Mapping[str, Choice]) -> dict[str, Status]:
    """The statuses of the purposes and channels of which something else holds, or is allowed, than before."""
    found: dict[str, Status] = {}
    for key in sorted(after):
        if (now := holds(after, key).outcome) != holds(before, key).outcome and now.status is not None:
            found[key] = now.status
    return found


def _later(one: Setting | None, other: Setting | None) -> Setting | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda setting: (setting.at, not setting.granted))


def _repeats(held: Choice | None, choice: Choice) -> bool:
    if held is None or held.carried is None or choice.carried is None:
        return False
    return held.carried.granted == choice.carried.granted
