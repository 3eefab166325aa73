"""The rulebooks of profile: the live segments, compiled once for each number."""

import msgspec

from libs.common.db.pool import Tx
from libs.common.errors import Invalid, Unavailable
from libs.common.fold import rulebooks
from services.profile.segments.membership import with_new
from services.profile.segments.rules import Rulebook, Rules, compiled

_KEPT = 16


class Rulebooks:
    """Compiled rulebooks, by number."""

    def __init__(self) -> None:
        self._rules: dict[int, Rules] = {0: Rules()}

    async def rules(self, tx: Tx, number: int) -> Rules:
        """The rules of a rulebook. Raises Unavailable if this release cannot compile them."""
        if number not in self._rules:
            book = await content(tx, number)
            if len(self._rules) > _KEPT:
                self._rules = {0: Rules()}
            try:
                self._rules[number] = with_new(compiled(number, book))
            except (Invalid, ValueError, KeyError) as error:
                raise Unavailable(f"this release cannot read a segment of rulebook {number}: {error}") from error
        return self._rules[number]

    async def newest(self, tx: Tx) -> Rules:
        """The rules of the newest rulebook. Raises Unavailable if this release cannot compile them."""
        return await self.rules(tx, await _number(tx))


async def newest(tx: Tx) -> Rulebook:
    """What the newest rulebook holds. It locks nobody out."""
    return await content(tx, await _number(tx))


async def _number(tx: Tx) -> int:
    number: int = await tx.fetchval("SELECT coalesce(max(number), 0) FROM profile.rulebooks")
    return number


async def content(tx: Tx, number: int) -> Rulebook:
    """What a rulebook holds. Raises LookupError when there is no such rulebook."""
    if number == 0:
        return Rulebook()
    stored = await rulebooks.content(tx, "profile", number)
    if stored is None:
        raise LookupError(f"profile has no rulebook {number}")
    return msgspec.json.decode(stored, type=Rulebook)
