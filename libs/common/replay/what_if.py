"""A what-if folds the journal under other rules than those that were in force.

It skips the service's own facts in the journal. It feeds the facts that the other rules decide back to them, right
after their cause, with the customer's snapshot of that record. Commands stay as they were.
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
from libs.common.fold.parsed_record import ParsedRecord
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
    """`rules` gives the rules to use in place of a rulebook."""

    load_all = True

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
        #: How much of each shared resource has been taken under the other rules.
        self._taken: Counter[Resource] = Counter()

    async def rules(self, rulebook: int) -> R:
        return await self._other_rules(self.tx, rulebook)

    def puts_back(self, fact: OutOfBand) -> bool:
        kept = self.replayable.kept_in_what_if
        if kept is not None and fact.type not in kept:
            return False
        self._kept.add(decode(fact.value).id)
        return True

    async def decide(self, row: Row[S], parsed: ParsedRecord, input: Input, rules: R, place: str) -> list[Applied[S]]:
        if input.own and input.id not in self._kept:
            return []
        decided = [await self._taking(row, input, rules, place)]
        for applied in decided:  # the list grows meanwhile; at the greatest depth nothing more is decided
            for fact in self._fed(row, parsed, applied, rules):
                decided.append(await self._taking(row, self.viewed(fact, rules, ()), rules, place))
        return decided

    def viewed(self, input: Input, rules: R, recorded: Sequence[OutOfBand]) -> Input:
        """The input with what the other rules have taken so far, in the order in which this what-if folds partitions."""
        view = {
            each: self._taken[each]
            for each in self.handler.shared.named(input.body, input.time, input.partition, rules)
        }
        return msgspec.structs.replace(input, shared=view) if view else input

    async def _taking(self, row: Row[S], input: Input, rules: R, place: str) -> Applied[S]:
        applied = await self.handler.load_and_apply(self.service_tx, row, input, rules, place)
        self._taken.update(applied.decision.takes)
        return applied

    def compare_facts(self, recorded: Sequence[OutOfBand], decided: Sequence[Applied[S]]) -> None:
        """Does nothing, because other rules are meant to give other facts."""

    def _fed(self, row: Row[S], parsed: ParsedRecord, applied: Applied[S], rules: R) -> Iterator[Input]:
        """The facts just decided, as inputs, as if they came back through the journal."""
        for outgoing in self.handler.outgoing(applied):
            snapshot = msgspec.structs.replace(_journalled.decode(parsed.envelope.data).customer, bound=[])
            value = spliced(outgoing.value, msgspec.json.encode(snapshot))
            partition = self.journal.partition_of(row.id)
            fact = self.handler.parse(
                Record(JOURNAL, partition, 0, str(row.id), value, parsed.envelope.recordedtime, 0), rules
            )
            if fact.body is not None:
                yield self.handler.input_of(fact.envelope, fact.body, partition)


def what_if(rules: Callable[[Tx, int], Awaitable[Any]]) -> Callable[..., Replay[Any, Any]]:
    """The `kind` to pass to `replaying`: a what-if with these rules."""

    def make(replayable: Replayable[Any, Any], shadow: Shadow, journal: Journal, tx: Tx) -> Replay[Any, Any]:
        return WhatIf(replayable, shadow, journal, tx, rules)

    return make
