"""The table of customers of a service. Rows are locked when loaded, versioned when saved, and found by any
identifier."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast
from uuid import UUID

import msgspec

from libs.common.contracts.records import Binding
from libs.common.db.pipeline import AnyTx, pipelined
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, NotFound
from libs.common.fold.section_store import SectionStore
from libs.common.fold.sections import Sectioned, SectionKinds, Sections, Wanted

S = TypeVar("S")

KINDS = ("user", "anon")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StaleRow(OSError):
    """A customer's row has changed since it was read. The batch is retried, as if the database had been away."""


@dataclass(slots=True)
class Row(Generic[S]):
    """A locked customer: their state, the number of facts decided on them, and the customer into whom they were
    merged. `stored` holds these three as they are in the table. `sections` belong to the state, in services that
    have sections."""

    id: UUID
    state: S
    version: int = 0
    facts: int = 0
    merged_into: UUID | None = None
    touched: bool = False
    stored: tuple[bytes, int, UUID | None] = (b"", 0, None)
    sections: Sections | None = None


class Customers(Generic[S]):
    """The table `customers` of one service. The state `S` is stored as JSON, and in sections if the service has
    `kinds` of them."""

    def __init__(self, service: str, state: type[S], kinds: SectionKinds | None = None) -> None:
        self._table = f'"{service}".customers'
        self._identifiers = f'"{service}".identifiers'
        self._service = service
        self._state = state
        self._decoder = msgspec.json.Decoder(state)
        self._encoder = msgspec.json.Encoder(decimal_format="string")
        self._known: set[UUID] = set()
        self._sections = None if kinds is None else SectionStore(service, kinds.types)
        columns = "id, state, version, facts, merged_into"
        self._there = f"SELECT {columns} FROM (SELECT {columns} FROM {self._table} WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE) there"
        self._make = (
            f"made AS (INSERT INTO {self._table} (id) SELECT id FROM unnest($2::uuid[]) id ORDER BY id"
            f" ON CONFLICT DO NOTHING RETURNING {columns})"
        )
        self._made = f" UNION ALL SELECT {columns} FROM made"
        self._save = (
            f"UPDATE {self._table} AS c SET state = n.state, version = c.version + 1, facts = n.facts,"
            " merged_into = n.merged_into"
            " FROM unnest($1::uuid[], $2::bytea[], $3::bigint[], $4::bigint[], $5::uuid[])"
            " AS n(id, state, version, facts, merged_into) WHERE c.id = n.id AND c.version = n.version"
        )

    async def load(self, tx: AnyTx, ids: Iterable[UUID]) -> dict[UUID, Row[S]]:
        """Lock and return the rows of `ids`, in the order of the ids. Missing rows are created first, so that there
        is something to lock."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        async with pipelined(tx) as pipeline:
            if unknown := [id for id in wanted if id not in self._known]:
                rows = [*await pipeline.rows(self._there + self._made, wanted, unknown, ctes=self._make)]
                if missing := set(wanted) - {row[0] for row in rows}:  # made by others, whose commit it waited for
                    rows += await pipeline.rows(self._there, sorted(missing))
            else:
                rows = [*await pipeline.rows(self._there, wanted)]
        if len(rows) != len(wanted):
            self.forget()
            raise StaleRow("a customer's row has gone")
        loaded = {
            id: Row(id, self._decode(value), version, facts, merged_into, stored=(value, facts, merged_into))
            for id, value, version, facts, merged_into in rows
        }
        if self._sections is not None:
            for row in loaded.values():
                self._hold(row, Sections(row.id, self._sections.decoders, whole=row.version == 0))
        return loaded

    async def load_sections(self, tx: AnyTx, wanted: Iterable[tuple[Row[S], Wanted]]) -> None:
        """Load sections of customers whose rows are locked, in one statement for each way of asking."""
        if self._sections is not None:
            await self._sections.load(tx, [(row.sections, each) for row, each in wanted if row.sections is not None])

    def empty(self, row: Row[S]) -> None:
        """Clear the state of a customer whom another one has absorbed."""
        row.state, row.touched = self._state(), True
        if row.sections is not None:
            row.sections.empty()
            self._hold(row, row.sections)

    def known(self, ids: Iterable[UUID]) -> None:
        """Call this after the commit: these rows exist."""
        if len(self._known) > 500_000:
            self._known.clear()
        self._known.update(ids)

    def forget(self) -> None:
        """Forget which rows exist, after a rollback of rows that were called known."""
        self._known.clear()

    async def save(self, tx: AnyTx, rows: Iterable[Row[S]]) -> None:
        """Write changed rows and their sections. Raises StaleRow if a row is not as it was read."""
        touched = [(row, (self._encoder.encode(row.state), row.facts, row.merged_into)) for row in rows if row.touched]
        sections = [row.sections for row, _ in touched if row.sections is not None and row.sections.changed]
        sectioned = {each.customer for each in sections}  # counted too: a row of version 0 has no sections
        changed = [(row.id, row.version, *now) for row, now in touched if now != row.stored or row.id in sectioned]
        if not changed:
            return
        ids, versions, states, facts, merged_into = zip(*changed, strict=True)
        async with pipelined(tx) as pipeline:
            await pipeline.write(
                self._save, ids, states, versions, facts, merged_into, rows=len(changed), otherwise=StaleRow
            )
            if self._sections is not None and sections:
                await self._sections.save(pipeline, sections)

    async def bind(self, tx: Tx, bindings: Iterable[tuple[Binding, UUID]]) -> None:
        """Bind identifiers to customers. The highest version wins, in whatever order bindings arrive."""
        newest: dict[tuple[str, str], tuple[int, UUID]] = {}
        for binding, customer in bindings:
            key = (binding.kind, binding.value)
            if key not in newest or newest[key][0] < binding.version:
                newest[key] = (binding.version, customer)
        if not newest:
            return
        keys = sorted(newest)
        await tx.execute(
            f"INSERT INTO {self._identifiers} (kind, value, version, customer)"
            " SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[])"
            " ON CONFLICT (kind, value) DO UPDATE SET version = excluded.version, customer = excluded.customer"
            " WHERE identifiers.version < excluded.version",
            [kind for kind, _ in keys],
            [value for _, value in keys],
            [newest[key][0] for key in keys],
            [newest[key][1] for key in keys],
        )

    async def resolve(self, tx: Tx, ref: str) -> UUID:
        """The customer of `ref` (an id, `user:ann`, `anon:…`), after merges. Raises NotFound, or Invalid for no
        reference."""
        kind, _, value = ref.partition(":")
        if _UUID.fullmatch(ref):
            customer = UUID(ref)
        elif kind in KINDS and value:
            found = await tx.fetchval(
                f"SELECT customer FROM {self._identifiers} WHERE kind = $1 AND value = $2", kind, value
            )
            if found is None:
                raise NotFound(f"no customer {ref} is known to {self._service}: nothing has been received about them")
            customer = found
        else:
            raise Invalid(f"{ref!r} is no customer: give their id, user:<userId> or anon:<anonymousId>")
        return await self.survivor(tx, customer)

    async def survivor(self, tx: Tx, customer: UUID) -> UUID:
        """The customer at the end of the chain of merges; `customer` if there was none."""
        return await survivor(tx, self._service, customer)

    async def state(self, tx: Tx, customer: UUID, *wanted: Wanted) -> S | None:
        """A customer's state for reading, without a lock, with the wanted sections. None if there is no row."""
        value = await tx.fetchval(f"SELECT state FROM {self._table} WHERE id = $1", customer)
        if value is None:
            return None
        row = Row(customer, self._decode(value))
        if self._sections is not None:
            self._hold(row, Sections(customer, self._sections.decoders))
            await self.load_sections(tx, [(row, each) for each in wanted])
        return row.state

    def _hold(self, row: Row[S], sections: Sections) -> None:
        row.sections = sections
        cast("Sectioned", row.state).hold(sections)

    def blank(self) -> S:
        """The state of a new customer."""
        return self._state()

    def _decode(self, value: bytes) -> S:
        return self._decoder.decode(value) if value else self._state()


async def survivor(tx: Tx, service: str, customer: UUID) -> UUID:
    """The customer into whom `customer` was merged, as far as this service has read the journal; else `customer`."""
    while into := await tx.fetchval(f'SELECT merged_into FROM "{service}".customers WHERE id = $1', customer):
        customer = into
    return customer
