"""The rows of a service's customers: loaded with a lock, saved with a version check, found by any identifier."""

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
#: Into whom erased customers are "merged": nobody. Their rows stay, empty, so that nothing can bring them back.
NOBODY = UUID(int=0)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StaleRow(OSError):
    """A customer's row changed since it was read. It counts as unavailability, so the batch is tried again."""


@dataclass(slots=True)
class Row(Generic[S]):
    """A locked customer.

    `facts` counts the facts decided on this customer. `merged_into` is the survivor of a merge, if there was one.
    `touched` marks a row to be saved. `stored` is (state, facts, merged_into) as in the table. `sections` is None if
    the service has none.
    """

    id: UUID
    state: S
    version: int = 0
    facts: int = 0
    merged_into: UUID | None = None
    touched: bool = False
    stored: tuple[bytes, int, UUID | None] = (b"", 0, None)
    sections: Sections | None = None


class Customers(Generic[S]):
    """The table `customers` of one service. `S` is the state, stored as JSON; `kinds` are its sections, if any."""

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
        self._existing = (
            f"SELECT {columns} FROM (SELECT {columns} FROM {self._table} WHERE id = ANY($1::uuid[])"
            " ORDER BY id FOR UPDATE) existing"
        )
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
        """Load the rows of `ids` and lock them in id order. Missing rows are created first, so that there is a lock."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        async with pipelined(tx) as pipeline:
            if unknown := [id for id in wanted if id not in self._known]:
                rows = [*await pipeline.rows(self._existing + self._made, wanted, unknown, ctes=self._make)]
                if missing := set(wanted) - {row[0] for row in rows}:  # another transaction created them meanwhile
                    rows += await pipeline.rows(self._existing, sorted(missing))
            else:
                rows = [*await pipeline.rows(self._existing, wanted)]
        if len(rows) != len(wanted):
            self.forget()
            raise StaleRow("a customer's row was deleted")
        loaded = {
            id: Row(id, self._decode(value), version, facts, merged_into, stored=(value, facts, merged_into))
            for id, value, version, facts, merged_into in rows
        }
        if self._sections is not None:
            for row in loaded.values():
                self._hold(row, Sections(row.id, self._sections.decoders, whole=row.version == 0))
        return loaded

    async def load_sections(self, tx: AnyTx, wanted: Iterable[tuple[Row[S], Wanted]]) -> None:
        """Load sections of customers whose rows are locked, with one statement for each type of Wanted."""
        if self._sections is not None:
            await self._sections.load(tx, [(row.sections, each) for row, each in wanted if row.sections is not None])

    def empty(self, row: Row[S]) -> None:
        """Empty a customer's state, after another customer has absorbed it."""
        row.state, row.touched = self._state(), True
        if row.sections is not None:
            row.sections.empty()
            self._hold(row, row.sections)

    def erase(self, row: Row[S]) -> None:
        """Empty a customer for good. The caller deletes the sections' rows."""
        row.state, row.facts, row.merged_into, row.touched = self._state(), 0, NOBODY, True
        if self._sections is not None:
            self._hold(row, Sections(row.id, self._sections.decoders, whole=True))

    def known(self, ids: Iterable[UUID]) -> None:
        """Remember that these rows exist. Call it after the commit."""
        if len(self._known) > 500_000:
            self._known.clear()
        self._known.update(ids)

    def forget(self) -> None:
        """Forget which rows exist. Call it when a transaction rolls back after its rows were passed to `known`."""
        self._known.clear()

    async def save(self, tx: AnyTx, rows: Iterable[Row[S]]) -> None:
        """Write the touched rows that differ from what is stored, and their sections. Raises StaleRow if a row changed
        since it was read. Does not commit."""
        touched = [(row, (self._encoder.encode(row.state), row.facts, row.merged_into)) for row in rows if row.touched]
        sections = [row.sections for row, _ in touched if row.sections is not None and row.sections.changed]
        sectioned = {each.customer for each in sections}  # their version rises too: version 0 means "no sections"
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
        """Store which customers identifiers lead to. The highest version wins, in whatever order bindings arrive."""
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
        """The customer that `ref` (an id, `user:ann`, `anon:…`) leads to, or their survivor if they were merged.

        Raises NotFound, also for who was erased, and Invalid for a malformed `ref`.
        """
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
            raise Invalid(f"{ref!r} is not a customer: give their id, user:<userId> or anon:<anonymousId>")
        return await self.survivor(tx, customer)

    async def survivor(self, tx: Tx, customer: UUID) -> UUID:
        """The customer at the end of `customer`'s chain of merges; `customer` if they were never merged. Raises NotFound if
        they were erased."""
        return await survivor(tx, self._service, customer)

    async def state(self, tx: Tx, customer: UUID, *wanted: Wanted) -> S | None:
        """A customer's state and the `wanted` sections, for reading, without a lock. None if there is no row yet."""
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
    """The customer at the end of `customer`'s chain of merges, as far as `service` has folded. Raises NotFound if they were
    erased."""
    while into := await tx.fetchval(f'SELECT merged_into FROM "{service}".customers WHERE id = $1', customer):
        if into == NOBODY:
            raise NotFound(f"the customer {customer} was erased")
        customer = into
    return customer
