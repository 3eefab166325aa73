"""Looks at customers again: when something leaves a window, when a comparison with `ago(…)` turns, after a merge, and when
segments were published. Each customer is changed under their lock, in a transaction that the caller commits.

Windows that are not kept yet are counted from the journal. Everything that profile has journalled for a customer is
visible to who holds their lock, so nothing is missed, and nothing is counted twice.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from libs.common.contracts.profile import JOURNAL, SegmentEntered, SegmentExited
from libs.common.contracts.records import decode
from libs.common.db.pool import Tx
from libs.common.fold import timers
from libs.common.log.append import Outgoing, append
from libs.common.log.notifier import Written
from libs.common.log.partition import partition_of
from libs.common.log.tables import relation
from services.profile import store
from services.profile.domain.decide import Cause
from services.profile.domain.identity import LoadedCustomer, Move, WorkingSet
from services.profile.domain.journey import AsOf
from services.profile.domain.state import Total, micros, moment
from services.profile.journal import journalled
from services.profile.segments import membership
from services.profile.segments.rules import KeptWindow, Rules
from services.profile.segments.totals import Occurrence, added, leaves_at, micros_of, moved

#: Rows of the journal that are fetched at once.
_PREFETCH = 200
_JOURNAL = f"""
SELECT value FROM {relation(JOURNAL)} WHERE key = ANY($1::text[]) AND time >= $2 ORDER BY time
"""
_DONE = """
DELETE FROM profile.timers USING unnest($2::uuid[], $3::timestamptz[]) AS seen(customer, at)
WHERE timers.kind = $1 AND timers.customer = seen.customer AND timers.due <= seen.at
"""


async def refresh(tx: Tx, at: Mapping[UUID, datetime], rules: Rules, zone: tzinfo, partitions: int) -> Written:
    """Bring the windows and segments of these customers up to the time given for each, or to what waits for their timer.
    Returns what was journalled. Does not commit.

    Customers who were evaluated under a newer rulebook meanwhile stay as they are, with their timers.
    """
    if not at:
        return {}
    times = {customer: micros(time) for customer, time in at.items()}
    working_set = await store.lock(tx, times.keys())
    customers = [loaded for loaded in working_set.by_id.values() if loaded.state.filled <= rules.number]
    done = [loaded.id for loaded in customers]
    await tx.execute(_DONE, membership.TIMER, done, [at[id] for id in done])
    outgoing: list[Outgoing] = []
    due: dict[UUID, datetime] = {}
    for loaded in customers:
        if loaded.merged_into is not None:
            continue
        await asyncio.sleep(0)  # many segments take a while, and the fold runs in the same loop
        now = max(times[loaded.id], loaded.state.pending or 0)
        outgoing += await _one(tx, loaded, rules, now, partition_of(str(loaded.id), partitions))
        loaded.touched, loaded.state.due, loaded.state.pending, loaded.state.silent = True, None, None, False
        due |= membership.timers([loaded], rules, now)
    await _save(tx, working_set, zone)
    await timers.set_by(tx, "profile", membership.TIMER, due, partitions)
    return await append(tx, JOURNAL, outgoing, partitions)


async def move_members(
    tx: Tx, moves: Mapping[UUID, bool], name: str, version: int, by: str, rules: Rules, zone: tzinfo, partitions: int
) -> Written:
    """Let customers enter (true) or leave a static segment, as far as they are not so yet. Does not commit."""
    now = datetime.now(UTC)
    working_set = await store.lock(tx, moves.keys())
    outgoing: list[Outgoing] = []
    for customer, enters in moves.items():
        loaded = working_set.by_id[customer]
        if loaded.merged_into is None and enters != (name in loaded.state.segments):
            fact = SegmentEntered if enters else SegmentExited
            said = fact(segment=name, version=version, because=f"{'added' if enters else 'removed'} by {by}")
            membership.move(loaded, Move(name, enters, micros(now)))
            outgoing.append(
                journalled(
                    loaded,
                    said,
                    Cause(None, now, now),
                    f"{partition_of(str(customer), partitions)}/0/0",
                    rules.journey,
                )
            )
    await _save(tx, working_set, zone)
    return await append(tx, JOURNAL, outgoing, partitions)


async def _save(tx: Tx, working_set: WorkingSet, zone: tzinfo) -> None:
    await store.save(tx, working_set)
    await store.count(tx, membership.moves_by_day(working_set.by_id.values(), zone))


async def _one(tx: Tx, loaded: LoadedCustomer, rules: Rules, now: int, partition: int) -> list[Outgoing]:
    state = loaded.state
    new = [kept for kept in rules.windows.values() if not membership.is_kept(state, kept.since)]
    kept = [kept for kept in rules.windows.values() if membership.is_kept(state, kept.since)]
    begun = {name for name, segment in rules.segments.items() if segment.live.since > state.filled}
    whole = state.stale or state.filled < rules.number or state.pending is not None
    changed = await _expire(tx, loaded, kept, now)
    await fill(tx, loaded, new, now)
    state.windows = {key: total for key, total in state.windows.items() if key in rules.windows}
    state.computed = {name: value for name, value in state.computed.items() if name in rules.traits}
    state.filled, state.stale = rules.number, False
    changed |= set(membership.compute(state, rules, rules.windows if whole else changed))
    if "stage" in rules.readers:
        changed.add("stage")  # it may have changed by itself
    names = {name for read in changed for name in rules.readers.get(read, ())}
    segments = [
        segment for name, segment in rules.segments.items() if whole or segment in rules.turning or name in names
    ]
    as_of = AsOf(now, rules.journey)
    facts = [*_archived(loaded, rules, now), *membership.evaluate(loaded, segments, as_of, begun)]
    cause = Cause(None, moment(now), moment(now), imported=state.silent)
    place = f"{partition}/0/{rules.number}"
    return [journalled(loaded, fact, cause, place, rules.journey) for fact in facts]


def _archived(loaded: LoadedCustomer, rules: Rules, now: int) -> list[membership.SegmentFact]:
    """The facts on segments that are live no longer."""
    facts: list[membership.SegmentFact] = []
    for name in sorted(loaded.state.segments.keys() - rules.segments.keys()):
        membership.move(loaded, Move(name, False, now))
        facts.append(SegmentExited(segment=name, version=0, because="the segment was archived", backfill=True))
    return facts


async def _expire(tx: Tx, loaded: LoadedCustomer, kept: Iterable[KeptWindow], now: int) -> set[str]:
    """Take out of the windows what has left them. Returns the keys of those that changed."""
    state, changed = loaded.state, set()
    for each in kept:
        key, total = each.window.key, state.windows.get(each.window.key)
        if total is None or total.oldest is None or each.window.span is None:
            continue
        leaves = leaves_at(each.window, total)
        if leaves is not None and leaves <= now:
            until = now - micros_of(each.window.span)
            events = [each async for each in _until(until, _counted(tx, loaded, [each], total.oldest))]
            state.windows[key] = moved(total, until, events)
            changed.add(key)
    return changed


async def _until(until: int, events: AsyncIterator[tuple[KeptWindow, Occurrence]]) -> AsyncIterator[Occurrence]:
    """The events up to `until`, and the first after it."""
    async for _, occurrence in events:
        yield occurrence
        if occurrence.at > until:
            return


async def fill(tx: Tx, loaded: LoadedCustomer, windows: Sequence[KeptWindow], now: int) -> None:
    """Count windows that are not kept yet from the journal. `tx` is a transaction; the state is changed in memory."""
    if not windows:
        return
    begins = {
        kept.window.key: None if kept.window.span is None else now - micros_of(kept.window.span) for kept in windows
    }
    earliest = None if None in begins.values() else min(begin for begin in begins.values() if begin is not None)
    totals = {key: Total(until=begin) for key, begin in begins.items()}
    async for kept, occurrence in _counted(tx, loaded, windows, earliest):
        key = kept.window.key
        totals[key] = added(totals[key], occurrence)
    loaded.state.windows |= totals


async def _counted(
    tx: Tx, loaded: LoadedCustomer, windows: Sequence[KeptWindow], since: int | None
) -> AsyncIterator[tuple[KeptWindow, Occurrence]]:
    """What these windows count in the journal of a customer and of all who were merged into them, the oldest first."""
    keys = [str(loaded.id), *loaded.state.merged]
    begin = datetime.min.replace(tzinfo=UTC) if since is None else moment(since)
    marks = {mark for kept in windows for mark in kept.marks}
    async for (value,) in tx.cursor(_JOURNAL, keys, begin, prefetch=_PREFETCH):
        if any(mark in value for mark in marks):
            for counted in membership.occurrences(windows, decode(value)):
                yield counted
