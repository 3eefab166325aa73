"""What badges decide, and how progress changes. Pure: only `evolve` and `merge` change it, and these are total."""

from collections.abc import Mapping, Sequence

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.contracts.rewards import BadgeEarned, BadgeRevoked
from libs.common.fold.decider import Merged
from services.rewards.badges.rules import Badge, BadgeRules
from services.rewards.badges.state import COUNTED, BadgesHeld, Progress
from services.rewards.course import Course, Merging
from services.rewards.inputs import OrderCompleted


class Counted(msgspec.Struct):
    """Which badges an input `counted` for, the terms of those `awarded`, and the orders that no longer count (`voided`)."""

    counted: list[str] = msgspec.field(default_factory=list)
    awarded: dict[str, Badge] = msgspec.field(default_factory=dict)
    voided: list[str] = msgspec.field(default_factory=list)


def decide(state: BadgesHeld, course: Course, rules: BadgeRules) -> Counted:
    """What the input counts for, what is earned by that, and what is revoked because an order was given back wholly."""
    note = Counted(voided=course.voided)
    # after a merge all are looked at again: together both may have enough, or an order counts no longer twice
    changes = dict.fromkeys(state.progress, 0) if isinstance(course.input.body, Merged) else {}
    for order in course.voided:
        for badge in state.sections.get(COUNTED, order) or ():
            changes[badge] = changes.get(badge, 0) - 1
    if course.scope is not None and course.counts:
        note.counted = [badge.id for badge in rules.counts(course.scope)]
        for badge in note.counted:
            changes[badge] = changes.get(badge, 0) + 1
    _change(course, state, changes, rules, note)
    return note


def evolve(state: BadgesHeld, input: Input, facts: Sequence[Fact], note: Counted) -> None:
    """How progress changes. Total."""
    for order in note.voided:
        for badge in state.sections.get(COUNTED, order) or ():
            state.progress[badge].count -= 1
        state.sections.delete(COUNTED, order)
    for badge in note.counted:
        state.progress.setdefault(badge, Progress()).count += 1
    if note.counted and isinstance(input.body, OrderCompleted):
        state.sections.new(COUNTED, input.body.order)  # an order counts once
        state.sections.set(COUNTED, input.body.order, note.counted)
    for id, terms in note.awarded.items():
        progress = state.progress.setdefault(id, Progress())
        progress.every, progress.repeatable = terms.count, terms.repeatable
    for fact in facts:
        if isinstance(fact, BadgeEarned):
            progress = state.progress.setdefault(fact.badge, Progress())
            progress.earned, progress.earned_at = fact.occurrence, input.time
        elif isinstance(fact, BadgeRevoked):
            state.progress.setdefault(fact.badge, Progress()).earned = fact.occurrence - 1


def merge(survivor: BadgesHeld, other: BadgesHeld, merging: Merging) -> None:
    """A badge that is earned only once is had once; an order that both had counts once."""
    for id, theirs in other.progress.items():
        ours = survivor.progress.setdefault(id, Progress())
        if not ours.earned:
            ours.every, ours.repeatable = theirs.every, theirs.repeatable
        ours.count += theirs.count
        ours.earned = ours.earned + theirs.earned if ours.repeatable else max(ours.earned, theirs.earned)
        dates = [date for date in (ours.earned_at, theirs.earned_at) if date is not None]
        ours.earned_at = max(dates, default=None) if ours.repeatable else min(dates, default=None)
    for order, badges in other.sections.every(COUNTED).items():
        if order in merging.duplicated:
            for badge in badges:
                survivor.progress[badge].count -= 1
        else:
            survivor.sections.set(COUNTED, order, badges)


def _change(course: Course, state: BadgesHeld, changes: Mapping[str, int], rules: BadgeRules, note: Counted) -> None:
    """Awards that the new counts are worth; revocations of those that they are no longer worth, by the old terms."""
    for id, change in changes.items():
        progress = state.of(id)
        count, have, name = progress.count + change, progress.earned, id
        if (rule := rules.by_id.get(id)) is not None:
            name = rule.badge.name
            for occurrence in range(have + 1, rule.awards(count) + 1):
                note.awarded[id] = rule.badge
                course.facts.append(BadgeEarned(badge=id, name=name, count=count, occurrence=occurrence))
        if change <= 0:
            for occurrence in range(have, progress.kept(count), -1):
                course.facts.append(BadgeRevoked(badge=id, name=name, occurrence=occurrence))
