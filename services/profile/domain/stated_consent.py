"""What an event says of consent: Segment's `context.consent`."""

from typing import Any, NamedTuple

import msgspec

from libs.common.contracts.consent import read_key
from services.profile.domain.consent import MOST, Statement

#: The event that says what a customer has just chosen. With all other events apps send the setting along.
PREFERENCE = "Segment Consent Preference Updated"
_LONGEST_VERSION = 200
_any = msgspec.json.Decoder()


class StatedConsent(NamedTuple):
    """The statements of an event, the version of the text that they name, and how many parts cannot be read."""

    statements: list[Statement]
    text_version: str | None
    refused: int


def read(consent: msgspec.Raw, event: str | None) -> StatedConsent | None:
    """Read `{"categoryPreferences": {"marketing": true, "marketing.email": false}, "version": "2026-03"}`.

    A preference is a boolean under a purpose, or under purpose and channel. Anything else is left out and counted: an
    event is never refused for it. None if the event says nothing of consent.
    """
    said = _any.decode(consent)
    preferences = said.get("categoryPreferences") if isinstance(said, dict) else None
    if not isinstance(preferences, dict):
        return None if said is None else StatedConsent([], None, 1)
    granted: dict[str, bool] = {}
    refused = max(len(preferences) - 2 * MOST, 0)
    for name, setting in list(preferences.items())[: 2 * MOST]:
        key = read_key(name)
        if key is None or not isinstance(setting, bool):
            refused += 1
        else:
            granted[key] = setting and granted.get(key, True)  # of two spellings of one purpose, the denial
    carried = event != PREFERENCE
    statements = [Statement(key, "granted" if yes else "denied", carried) for key, yes in granted.items()]
    return StatedConsent(statements, _version(said.get("version")), refused)


def _version(version: Any) -> str | None:
    return str(version)[:_LONGEST_VERSION] if type(version) in (str, int, float) else None
