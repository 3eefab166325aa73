"""Commands: what a REST call asks of one customer. Pure: `decide` says what follows, `evolve` changes the customer.

A new command is a struct here, a case in `decide`, and the part of `Decision` that it needs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from libs.common.contracts.consent import Status
from libs.common.contracts.profile import (
    CustomerDeselected,
    CustomerReselected,
    NoteAdded,
    RelationshipKind,
    RelationshipSet,
    TaskAdded,
    TaskDone,
    TaskDue,
)
from libs.common.contracts.records import Fact
from libs.common.errors import Conflict
from services.profile.domain.consent import MOST, Change, Choice, Proof, Statement, holds, stated, statuses
from services.profile.domain.decide import consent_changes
from services.profile.domain.evolve import apply_consent
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.state import Customer, Deselected, SaidRelationship, micros, moment


class Call(NamedTuple):
    """When a command was given and received, and the id of what follows from it. `at` may lie in the past."""

    id: UUID
    at: datetime
    received: datetime
    traceparent: str | None


class StateConsent(msgspec.Struct, frozen=True):
    """The customer says what they allow, by the keys of `contracts.consent`; or is asked to confirm it (`pending`).

    `at` is None for what is said now.
    """

    statuses: dict[str, Status]
    proof: Proof
    at: datetime | None = None


class ConfirmConsent(msgspec.Struct, frozen=True):
    """The customer confirms the request that was made at `requested` (microseconds)."""

    key: str
    requested: int
    proof: Proof


class AddNote(msgspec.Struct, frozen=True):
    """Somebody writes a note on the customer."""

    text: str
    by: str


class Deselect(msgspec.Struct, frozen=True):
    """The business stops marketing to the customer."""

    reason: str
    by: str


class Reselect(msgspec.Struct, frozen=True):
    """The business markets to the customer again."""

    reason: str
    by: str


class SetRelationship(msgspec.Struct, frozen=True):
    """Somebody says what the relationship is based on. None: it is derived again."""

    kind: RelationshipKind | None
    reason: str
    by: str


class AddTask(msgspec.Struct, frozen=True):
    """The owner is to do something for the customer until it is due."""

    title: str
    due: datetime
    owner: str
    by: str


class FinishTask(msgspec.Struct, frozen=True):
    """A task is done."""

    task: UUID
    by: str


class TellDueTask(msgspec.Struct, frozen=True):
    """A task has become due."""

    task: UUID


Command: TypeAlias = (
    StateConsent | ConfirmConsent | AddNote | Deselect | Reselect | SetRelationship | AddTask | FinishTask | TellDueTask
)


class Task(msgspec.Struct, frozen=True):
    """A task, with the customer for whom it was added. `told_at`: since then it is known that it is due."""

    customer: UUID
    id: UUID
    title: str
    due: datetime
    owner: str
    by: str
    created_at: datetime
    done_at: datetime | None = None
    done_by: str | None = None
    told_at: datetime | None = None


class Note(NamedTuple):
    """A note to keep."""

    text: str
    by: str


class Decision(msgspec.Struct, frozen=True):
    """The facts that follow from a command, its answer (JSON-able), and what it changes. What is UNSET stays."""

    facts: list[Fact]
    answer: dict[str, Any]
    consent: Change | None = None
    proof: Proof | None = None
    note: Note | None = None
    task: Task | None = None
    deselected: Deselected | msgspec.UnsetType | None = msgspec.UNSET
    relationship: SaidRelationship | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def changed(self) -> list[str]:
        """What may have changed, by the names that conditions of segments use."""
        found = {"consent": self.consent is not None, "deselected": self.deselected is not msgspec.UNSET}
        return [name for name, changed in found.items() if changed]


def decide(loaded: LoadedCustomer, command: Command, call: Call, task: Task | None = None) -> Decision:
    """What follows from a command; `task` is the one that it is about. Changes nothing. Raises Conflict if the customer's
    state forbids it."""
    state = loaded.state
    match command:
        case AddTask() | FinishTask() | TellDueTask():
            return _of_task(loaded.id, command, call, task)
        case StateConsent():
            statements = [Statement(key, status) for key, status in command.statuses.items()]
            return _stated(state, statements, command.proof, call)
        case ConfirmConsent():
            said = holds(state.consent, command.key).said
            if said is None or said.at < command.requested:
                return _stated(state, [Statement(command.key, "granted")], command.proof, call)
            if not said.granted:
                raise Conflict("This consent was denied after the link was made: ask for a new link to grant it again.")
            return Decision([], _answer(state.consent, call))  # confirmed already
        case AddNote(text, by):
            answer = {"id": str(call.id), "text": text, "by": by, "at": moment(micros(call.at)).isoformat()}
            return Decision([NoteAdded(note=str(call.id), by=by)], answer, note=Note(text, by))
        case Deselect(reason, by):
            if state.deselected is not None:
                return Decision([], {})
            flag = Deselected(micros(call.at), reason, by)
            return Decision([CustomerDeselected(reason=reason, by=by)], {}, deselected=flag)
        case Reselect(reason, by):
            if state.deselected is None:
                return Decision([], {})
            return Decision([CustomerReselected(reason=reason, by=by)], {}, deselected=None)
        case SetRelationship(kind, reason, by):
            relationship = None if kind is None else SaidRelationship(micros(call.at), kind, reason, by)
            return Decision([RelationshipSet(kind=kind, reason=reason, by=by)], {}, relationship=relationship)


def evolve(loaded: LoadedCustomer, decision: Decision) -> None:
    """Apply a decision. Never fails."""
    if decision.consent is not None:
        apply_consent(loaded, decision.consent)
    if decision.deselected is not msgspec.UNSET:
        loaded.state.deselected, loaded.touched = decision.deselected, True
    if decision.relationship is not msgspec.UNSET:
        loaded.state.relationship, loaded.touched = decision.relationship, True


def _of_task(customer: UUID, command: AddTask | FinishTask | TellDueTask, call: Call, task: Task | None) -> Decision:
    match command:
        case AddTask(title, due, owner, by):
            task = Task(customer, call.id, title, due, owner, by, call.at)
            added = TaskAdded(task=str(task.id), title=title, owner=owner, due=due, by=by)
            return Decision([added], msgspec.to_builtins(task), task=task)
        case FinishTask(_, by) if task is not None and task.done_at is None:
            done = msgspec.structs.replace(task, done_at=call.at, done_by=by)
            fact = TaskDone(task=str(task.id), title=task.title, owner=task.owner, by=by)
            return Decision([fact], msgspec.to_builtins(done), task=done)
        case TellDueTask() if task is not None and task.done_at is None and task.told_at is None:
            told = msgspec.structs.replace(task, told_at=call.received)
            due_now = TaskDue(task=str(task.id), title=task.title, owner=task.owner, due=task.due)
            return Decision([due_now], {}, task=told)
        case _:  # done already, or told
            return Decision([], {} if task is None else msgspec.to_builtins(task))


def _stated(state: Customer, statements: list[Statement], proof: Proof, call: Call) -> Decision:
    change = stated(state.consent, statements, micros(call.at))
    if change.refused:
        raise Conflict(f"A customer can have {MOST} purposes and channels at most: use one of those that they have.")
    facts: list[Fact] = [*consent_changes(state.consent, change.consent, proof)]
    return Decision(facts, _answer(change.consent, call), change, proof)


def _answer(consent: Mapping[str, Choice], call: Call) -> dict[str, Any]:
    return {"consent": statuses(consent), "at": micros(call.at)}
