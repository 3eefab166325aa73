"""Sections: the part of a customer's state that grows with their history. Each is a row of its own, loaded on demand.

A service with sections

- derives its state from `Sectioned`, and declares in `Decider.sections` the type of each kind and the sections that a
  body names (`SectionKinds`). The fold loads these for the whole batch at once, after the customers are locked;
- reads them in `decide` and `evolve` through `state.sections`: `get` for one, `open` for those with a rank, in its
  order, `every` for all of a kind. Values are never changed in place; only `evolve` calls `set` and `delete`;
- may look for other sections in `decide`. A section that is not loaded raises NotLoaded; the fold loads it and calls
  `decide` again, which is safe because `decide` is pure. `evolve` may use only sections that were named, or that
  `decide` looked at;
- unites them in `absorb`. At a merge all sections of both customers are loaded;
- has the table (`tables.section_table`), and compares it in replays (`replayable.SECTIONS`). A replay evolves the facts
  of commands without deciding again, with all sections of the customer loaded.

A new customer has no sections and needs no look-up. Records that name none cost nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

Ref: TypeAlias = tuple[str, str]


class One(NamedTuple):
    """Asks for the section of a kind under a key."""

    kind: str
    key: str


class Every(NamedTuple):
    """Asks for all sections of a kind, or of all kinds if `kind` is empty."""

    kind: str = ""


class Open(NamedTuple):
    """Asks for the next page of a kind's sections with a rank, after (rank, key)."""

    kind: str
    behind: tuple[int, str] | None = None


Wanted: TypeAlias = One | Every | Open


class Section(NamedTuple):
    """A stored value. With a `rank` it is open: `Sections.open` finds it, in the order of ranks."""

    value: Any
    rank: int | None = None


class SectionRow(NamedTuple):
    """A section as stored in the table."""

    kind: str
    key: str
    value: bytes
    rank: int | None


class SectionKinds(NamedTuple):
    """The types of a service's sections by kind, and the sections that a body names under the rules."""

    types: Mapping[str, Any]
    named: Callable[[Any, Any], Iterable[Wanted]]


class NotLoaded(Exception):
    """A section is needed that is not loaded."""

    def __init__(self, customer: UUID, wanted: Wanted) -> None:
        super().__init__(f"{wanted} of {customer} is not loaded")
        self.customer = customer
        self.wanted = wanted


class Changes(NamedTuple):
    """What has to be written: changed rows, keys of deleted rows, and whether all earlier rows are deleted."""

    rows: list[SectionRow]
    gone: list[Ref]
    emptied: bool


class Sections:
    """The sections of one customer, as far as they are loaded, with unsaved changes."""

    __slots__ = ("_changed", "_decoders", "_emptied", "_fronts", "_now", "_stored", "_whole", "customer")

    def __init__(
        self, customer: UUID, decoders: Mapping[str, "msgspec.json.Decoder[Any]"], *, whole: bool = False
    ) -> None:
        """`whole`: nothing is stored, so nothing needs loading."""
        self.customer = customer
        self._decoders = decoders
        self._stored: dict[Ref, SectionRow] = {}
        self._now: dict[Ref, Section | None] = {}  # decoded or changed; None: does not exist
        self._changed: set[Ref] = set()
        self._whole: set[str] = {""} if whole else set()
        self._fronts: dict[str, tuple[int, str]] = {}  # how far the open sections of a kind are loaded
        self._emptied = False

    # -- for the service ----------------------------------------------------------------------------------------------
    def get(self, kind: str, key: str) -> Any | None:
        """The value of a section; None if there is none."""
        section = self._section((kind, key))
        return None if section is None else section.value

    def open(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Keys and values of a kind's ranked sections, in the order of (rank, key). Pages are loaded as the
        iteration reaches them."""
        front = self._fronts.get(kind)
        ranked = sorted((rank, key) for key, rank in self._ranks(kind))
        for rank, key in ranked:
            if not self._is_whole(kind) and (front is None or (rank, key) > front):
                break
            yield key, self.get(kind, key)
        if not self._is_whole(kind) and front != _END:
            raise NotLoaded(self.customer, Open(kind, front))

    def every(self, kind: str) -> dict[str, Any]:
        """All sections of a kind by key, in the order of keys."""
        if not self._is_whole(kind):
            raise NotLoaded(self.customer, Every(kind))
        return {key: self.get(kind, key) for key in sorted(key for of, key in self._present() if of == kind)}

    def new(self, kind: str, key: str) -> None:
        """Declare that nothing was ever stored under a key, so that it needs no look-up."""
        if (kind, key) not in self._stored:
            self._now.setdefault((kind, key), None)

    def set(self, kind: str, key: str, value: Any, rank: int | None = None) -> None:
        """Set a section, which must be loaded or new."""
        self._put((kind, key), Section(value, rank))

    def delete(self, kind: str, key: str) -> None:
        """Delete a section, which must be loaded."""
        self._put((kind, key), None)

    def absorb(self, other: "Sections", join: Callable[[str, Any, Any], Section]) -> None:
        """Take over all sections of another customer. `join` (kind, ours, theirs) unites two under one key."""
        for ref in sorted(other._present()):
            ours, theirs = self._section(ref), other._section(ref)
            if theirs is not None:
                self._put(ref, theirs if ours is None else join(ref[0], ours.value, theirs.value))

    # -- for the fold -------------------------------------------------------------------------------------------------
    @property
    def changed(self) -> bool:
        return bool(self._changed) or self._emptied

    def has(self, wanted: Wanted) -> bool:
        """Whether what is wanted is loaded."""
        match wanted:
            case One(kind, key):
                return (kind, key) in self._now or (kind, key) in self._stored or self._is_whole(kind)
            case Every(kind):
                return self._is_whole(kind)
            case Open(kind, behind):
                front = self._fronts.get(kind)
                return self._is_whole(kind) or (front is not None and (behind is None or behind < front))

    def loaded(self, wanted: Wanted, rows: Sequence[SectionRow], page: int) -> None:
        """Take in the rows that were found for `wanted`; of open ones at most a `page`."""
        for row in rows:
            self._stored[row.kind, row.key] = row
        match wanted:
            case One(kind, key):
                if (kind, key) not in self._stored:
                    self._now.setdefault((kind, key), None)
            case Every(kind):
                self._whole.add(kind)
            case Open(kind):
                last = rows[-1] if len(rows) == page else None
                self._fronts[kind] = _END if last is None else (last.rank or 0, last.key)

    def empty(self) -> None:
        """Delete all: the customer was merged into another one."""
        self._stored, self._now, self._changed, self._fronts = {}, {}, set(), {}
        self._whole, self._emptied = {""}, True

    def changes(self, encode: Callable[[Any], bytes]) -> Changes:
        """The differences from what is stored."""
        rows, gone = [], []
        for ref in sorted(self._changed):
            section, stored = self._now[ref], self._stored.get(ref)
            if section is None:
                if stored is not None:
                    gone.append(ref)
            elif (row := SectionRow(*ref, encode(section.value), section.rank)) != stored:
                rows.append(row)
        return Changes(rows, gone, self._emptied)

    def _section(self, ref: Ref) -> Section | None:
        if ref not in self._now:
            if (row := self._stored.get(ref)) is not None:
                self._now[ref] = Section(self._decoders[row.kind].decode(row.value), row.rank)
            elif not self._is_whole(ref[0]):
                raise NotLoaded(self.customer, One(*ref))
        return self._now.get(ref)

    def _put(self, ref: Ref, section: Section | None) -> None:
        if not self.has(One(*ref)):
            raise NotLoaded(self.customer, One(*ref))
        self._now[ref] = section
        self._changed.add(ref)

    def _present(self) -> Iterator[Ref]:
        for ref in self._stored.keys() | self._now.keys():
            if self._now.get(ref) is not None or ref not in self._now:
                yield ref

    def _ranks(self, kind: str) -> Iterator[tuple[str, int]]:
        for ref in self._present():
            if ref[0] == kind:
                now = self._now.get(ref)
                rank = self._stored[ref].rank if now is None else now.rank
                if rank is not None:
                    yield ref[1], rank

    def _is_whole(self, kind: str) -> bool:
        return "" in self._whole or kind in self._whole


#: After all ranks.
_END = (2**63, "")


class Sectioned(msgspec.Struct, dict=True):
    """The base of a state that has sections. They are not part of its JSON."""

    @property
    def sections(self) -> Sections:
        """The customer's sections; empty ones for a state that no fold has loaded."""
        held: Sections | None = self.__dict__.get("_sections")
        if held is None:
            held = self.__dict__["_sections"] = Sections(UUID(int=0), {}, whole=True)
        return held

    def hold(self, sections: Sections) -> None:
        """For the fold: attach the loaded sections."""
        self.__dict__["_sections"] = sections
