"""The rows of customers' sections: loaded set-based after the customers are locked, saved with the customers."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pipeline import AnyTx, Pipeline, pipelined
from libs.common.fold.sections import Every, One, Open, Ref, SectionRow, Sections, Wanted

#: The number of open sections in a page.
PAGE = 100
_START = (-(2**63), "")


class SectionStore:
    """The table `sections` of one service. Callers must hold the locks of the customers."""

    def __init__(self, service: str, types: Mapping[str, Any]) -> None:
        """`types` gives the type of a section's value, by kind."""
        table = f'"{service}".sections'
        self.decoders: Mapping[str, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(type) for kind, type in types.items()
        }
        self._encode = msgspec.json.Encoder(decimal_format="string").encode
        self._one = (
            f"SELECT s.customer, s.kind, s.key, s.value, s.rank FROM unnest($1::uuid[], $2::text[], $3::text[])"
            f" AS w(customer, kind, key) JOIN {table} AS s USING (customer, kind, key)"
        )
        self._every = (
            "SELECT s.customer, s.kind, s.key, s.value, s.rank FROM unnest($1::uuid[], $2::text[]) AS w(customer, kind)"
            f" JOIN {table} AS s ON s.customer = w.customer AND (w.kind = '' OR s.kind = w.kind)"
        )
        self._open = (
            "SELECT s.* FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[]) AS w(customer, kind, rank, key)"
            " CROSS JOIN LATERAL ("
            f"SELECT s.customer, s.kind, s.key, s.value, s.rank FROM {table} AS s WHERE s.customer = w.customer"
            " AND s.kind = w.kind AND s.rank IS NOT NULL AND (s.rank, s.key) > (w.rank, w.key)"
            f" ORDER BY s.rank, s.key LIMIT {PAGE}) AS s ORDER BY s.customer, s.kind, s.rank, s.key"
        )
        self._emptied = f"DELETE FROM {table} WHERE customer = ANY($1::uuid[])"
        self._gone = (
            f"DELETE FROM {table} AS s USING unnest($1::uuid[], $2::text[], $3::text[]) AS o(customer, kind, key)"
            " WHERE (s.customer, s.kind, s.key) = (o.customer, o.kind, o.key)"
        )
        self._save = (
            f"INSERT INTO {table} (customer, kind, key, value, rank)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bigint[])"
            " ON CONFLICT (customer, kind, key) DO UPDATE SET value = excluded.value, rank = excluded.rank"
        )

    async def load(self, tx: AnyTx, wanted: Iterable[tuple[Sections, Wanted]]) -> None:
        """Load what is not loaded yet, with one statement for each type of Wanted."""
        missing = {(sections.customer, each): sections for sections, each in wanted if not sections.has(each)}
        if not missing:
            return
        async with pipelined(tx) as pipeline:
            for kind in (One, Every, Open):
                requests = [(customer, each) for customer, each in missing if isinstance(each, kind)]
                if requests:
                    found = await self._fetch(pipeline, kind, requests)
                    for customer, each in requests:
                        rows = found.get((customer, _group(each)), [])
                        missing[customer, each].loaded(each, rows, PAGE)

    async def save(self, pipeline: Pipeline, changed: Iterable[Sections]) -> None:
        """Write the changes, when the pipeline next sends. Does not commit."""
        emptied: list[UUID] = []
        gone: list[tuple[UUID, str, str]] = []
        rows: list[tuple[Any, ...]] = []
        for sections in changed:
            changes = sections.changes(self._encode)
            if changes.emptied:
                emptied.append(sections.customer)
            gone += [(sections.customer, *ref) for ref in changes.gone]
            rows += [(sections.customer, *row) for row in changes.rows]
        if emptied:
            await pipeline.execute(self._emptied, emptied)
        if gone:
            await pipeline.execute(self._gone, *zip(*gone, strict=True))
        if rows:
            await pipeline.execute(self._save, *zip(*rows, strict=True))

    async def _fetch(
        self, pipeline: Pipeline, kind: type[Wanted], requests: list[tuple[UUID, Wanted]]
    ) -> dict[tuple[UUID, Ref], list[SectionRow]]:
        """The rows that all requests (of one kind) ask for, by customer and group."""
        customers = [customer for customer, _ in requests]
        kinds = [each.kind for _, each in requests]
        if kind is One:
            rows = await pipeline.rows(
                self._one, customers, kinds, [each.key for _, each in requests if isinstance(each, One)]
            )
        elif kind is Every:
            rows = await pipeline.rows(self._every, customers, kinds)
        else:
            behind = [each.behind or _START for _, each in requests if isinstance(each, Open)]
            ranks, keys = [rank for rank, _ in behind], [key for _, key in behind]
            rows = await pipeline.rows(self._open, customers, kinds, ranks, keys)
        whole = {customer for customer, each in requests if each == Every()}
        found: dict[tuple[UUID, Ref], list[SectionRow]] = {}
        for customer, *row in rows:
            section = SectionRow(*row)
            group = (section.kind, section.key) if kind is One else ("" if customer in whole else section.kind, "")
            found.setdefault((customer, group), []).append(section)
        return found


def _group(wanted: Wanted) -> Ref:
    return (wanted.kind, wanted.key) if isinstance(wanted, One) else (wanted.kind, "")
