"""A what-if: the journal folded under other rules than those that were in force.

What the service itself decided then is passed over in the journal; what the other rules decide is fed to them right
after its cause, with the customer as they were at that record. What people did (commands) stays as it was.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Journalled, decode, spliced
from libs.common.db.pool import Tx
from libs.common.fold.customers import Row
from libs.common.fold.decider import Applied
from libs.common.fold.handler import ParsedRecord
from libs.common.log.reader import Record
from libs.common.replay.journal import Journal
from libs.common.replay.out_of_band import OutOfBand
from libs.common.replay.replay import Replay
from libs.common.replay.replayable import Replayable
from libs.common.replay.shadow import Shadow

S = TypeVar("S")
R = TypeVar("R")

_journalled = msgspec.json.Decoder(Journalled)


class WhatIf(Replay[S, R]):
    """`rules` gives the rules to fold under where a rulebook was in force."""

    everyone = True

    def __init__(
        self,
        replayable: Replayable[S, R],
        shadow: Shadow,
        journal: Journal,
        tx: Tx,
        rules: Callable[[Tx, int], Awaitable[R]],
    ) -> None:
        super().__init__(replayable, shadow, journal, tx)
        self._other_rules = rules
        self._kept: set[str] = set()
        #: How much of each shared resource would have been taken.
        self._taken: Counter[Resource] = Counter()

    async def rules(self, rulebook: int) -> R:
        return await self._other_rules(self.tx, rulebook)

    def puts_back(self, fact: OutOfBand) -> bool:
        kept = self.replayable.kept_in_what_if
        if kept is not None and fact.type not in kept:
            return False
        self._kept.add(decode(fact.value).id)
        return True

    async def decided(self, row: Row[S], said: ParsedRecord, input: Input, rules: R, place: str) -> list[Applied[S]]:
        if input.own and input.id not in self._kept:
            return []
        made = [await self._taking(row, input, rules, place)]
        for applied in made:  # which grows meanwhile, until facts lie too deep for more to be decided
            for news in self._fed(row, said, applied, rules):
                made.append(await self._taking(row, self.viewed(news, rules, ()), rules, place))
        return made

    def viewed(self, input: Input, rules: R, told: Sequence[OutOfBand]) -> Input:
        """With what would have been taken by now, in the order in which the partitions are folded here."""
        view = {
            each: self._taken[each]
            for each in self.handler.shared.named(input.body, input.time, input.partition, rules)
        }
        return msgspec.structs.replace(input, shared=view) if view else input

    async def _taking(self, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        applied = await self.handler.decide_on(self.over, row, input, rules, place)
        self._taken.update(applied.decision.takes)
        return applied

    def compare_facts(self, told: Sequence[OutOfBand], made: Sequence[Applied[S]]) -> None:
        """Others are what is asked for."""

    def _fed(self, row: Row[S], said: ParsedRecord, applied: Applied[S], rules: R) -> Iterator[Input]:
        """The facts that were just decided, as the journal would bring them."""
        for outgoing in self.handler.outgoing(applied):
            snapshot = msgspec.structs.replace(_journalled.decode(said.envelope.data).customer, bound=[])
            value = spliced(outgoing.value, msgspec.json.encode(snapshot))
            partition = self.journal.partition_of(row.id)
            news = self.handler._read(
                Record(JOURNAL, partition, 0, str(row.id), value, said.envelope.recordedtime, 0), rules
            )
            if news.body is not None:
                yield self.handler._input(news.envelope, news.body, partition)


def what_if(rules: Callable[[Tx, int], Awaitable[Any]]) -> Callable[..., Replay[Any, Any]]:
    """The kind of replay to run."""

    def make(replayable: Replayable[Any, Any], shadow: Shadow, journal: Journal, tx: Tx) -> Replay[Any, Any]:
        return WhatIf(replayable, shadow, journal, tx, rules)

    return make
