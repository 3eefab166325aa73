"""Searches over all customers: by terms, segment and text, sorted, in pages.

A filter that few customers meet is read whole, and the other filters are checked on these. If all filters are wide, the
customers are walked in the order of the list, a bounded number of them a request: a page may then be short, or empty,
and `next` goes on behind the last one looked at. So each request looks at a bounded number of rows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.contracts.consent import read_key
from libs.common.db.pool import Tx
from libs.common.errors import Invalid
from services.profile.cursors import decoded, encoded, no_cursor
from services.profile.domain import state
from services.profile.domain.journey import AsOf
from services.profile.domain.state import Customer, micros, moment
from services.profile.domain.terms import LONGEST, consent_term, text_term, trait_term, words_match
from services.profile.queries import shown

#: A filter that more customers meet is wide.
WIDE = 1_000
#: So many customers are walked for a page of a list whose filters are all wide.
WALKED = 2_000
#: Filters and words of a search.
MOST = 10
_SORT = re.compile(r"(-?)(id|first_seen|last_seen|orders|revenue\.[A-Z]{3})")
_STATUSES = ("granted", "denied", "pending")

_OF_TERM = "SELECT customer FROM profile.terms WHERE term = $1 LIMIT $2"
_OF_SEGMENT = "SELECT customer FROM profile.members WHERE segment = $1 LIMIT $2"
_OF_WORD = """
(SELECT customer FROM profile.terms WHERE term >= $1 AND term < $2 LIMIT $5)
UNION ALL (SELECT customer FROM profile.identifiers WHERE value ~>=~ $3 AND value ~<~ $4 LIMIT $5)
"""
# scalar subqueries: each is a look-up by key, and no plan reads a wide filter whole
_MEETS = """
NOT EXISTS (SELECT FROM unnest($1::text[]) AS wanted(term)
  WHERE (SELECT true FROM profile.terms AS t WHERE t.term = wanted.term AND t.customer = found.id) IS NULL)
AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS wanted(segment)
  WHERE (SELECT true FROM profile.members AS m WHERE m.segment = wanted.segment AND m.customer = found.id) IS NULL)
"""
#: Sorts behind every text that begins with what it is appended to.
_LAST = chr(0x10FFFF)


class Sort(NamedTuple):
    """The order of a list: a column of customers, or the name of a rank."""

    by: str
    descending: bool

    @classmethod
    def read(cls, text: str) -> "Sort":
        """Read `last_seen` or `-last_seen`. Raises Invalid."""
        match = _SORT.fullmatch(text)
        if match is None:
            raise Invalid(
                "sort: send id, first_seen, last_seen, orders or revenue.USD (a currency), with a minus for the greatest"
                " first: -last_seen."
            )
        return cls(match[2], bool(match[1]))

    @property
    def ranked(self) -> bool:
        """Whether it lists only those who have ordered."""
        return self.by == "orders" or self.by.startswith("revenue.")

    def rows(self, condition: str = "true") -> str:
        """Select the rows (id, value) to sort, of customers that meet a condition on `id`."""
        if self.ranked:
            return f"SELECT * FROM (SELECT customer AS id, value FROM profile.ranks WHERE by = '{self.by}') AS r WHERE {condition}"
        column = {"id": "NULL::bigint", "last_seen": "seen"}.get(self.by, self.by)
        return f"SELECT id, {column} AS value FROM profile.customers WHERE merged_into IS NULL AND {condition}"

    @property
    def order(self) -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY id {direction}" if self.by == "id" else f"ORDER BY value {direction}, id {direction}"

    def behind(self, value: str, id: str) -> str:
        """The condition for what lies behind a place, given by two parameters."""
        sign = "<" if self.descending else ">"
        if self.by == "id":
            return f"{value}::bigint IS NULL AND id {sign} {id}::uuid"
        return f"(value, id) {sign} ({value}::{'bigint' if self.ranked else 'timestamptz'}, {id}::uuid)"


class Place(NamedTuple):
    """A customer's place in a list."""

    value: Any
    id: UUID


@dataclass(frozen=True)
class Search:
    """What is looked for: terms and segments that all must be met, and words that something begins with."""

    terms: Sequence[str]
    segments: Sequence[str]
    words: Sequence[str]
    sort: Sort
    limit: int

    @classmethod
    def read(
        cls, filters: Iterable[tuple[str, str]], segments: Sequence[str], text: str, sort: str, limit: int
    ) -> "Search":
        """Read `filters` such as ("trait.plan", "gold"). Raises Invalid."""
        terms = [_term(name, value) for name, value in filters]
        words = text.split()
        if len(terms) + len(segments) + len(words) > MOST:
            raise Invalid(f"A search may have {MOST} filters and words at most: use a segment instead.")
        return cls(terms, segments, words, Sort.read(sort), limit)


async def page(tx: Tx, search: Search, cursor: str | None, as_of: AsOf) -> dict[str, Any]:
    """A page of the customers who meet all of it. Raises Invalid for a wrong cursor, an unknown segment, or a text that is
    too short."""
    await _refuse_unknown(tx, search)
    behind = None if cursor is None else _read_cursor(cursor, search.sort)
    filters = [(_OF_TERM, (term,)) for term in search.terms] + [(_OF_SEGMENT, (name,)) for name in search.segments]
    candidates, _ = await _narrow(tx, filters)
    texts = [(_OF_WORD, (*_range(text_term(word)), *_range(word))) for word in search.words]
    named, wide = await _narrow(tx, texts)
    if named is not None:
        candidates = named if candidates is None else candidates & named
    words = [word for word, is_wide in zip(search.words, wide, strict=True) if is_wide]
    if candidates is None and words:
        raise Invalid(f"More than {WIDE:,} customers match “{words[0]}”: give more of the name, or another filter.")
    if candidates is not None:
        return await _of(tx, search, candidates, words, behind, as_of)
    return await _walk(tx, search, behind, as_of)


async def _narrow(tx: Tx, filters: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[set[UUID] | None, list[bool]]:
    """The customers who meet all filters that are not wide (None: all are wide), and for each filter whether it is."""
    found: set[UUID] | None = None
    wide = []
    for query, arguments in filters:
        rows = await tx.fetch(query, *arguments, WIDE + 1)
        wide.append(len(rows) > WIDE)
        if not wide[-1]:
            ids = {row[0] for row in rows}
            found = ids if found is None else found & ids
    return found, wide


async def _of(
    tx: Tx, search: Search, candidates: set[UUID], words: Sequence[str], behind: Place | None, as_of: AsOf
) -> dict[str, Any]:
    """A page out of a bounded number of candidates. Wide words are checked on their states."""
    sort, place = search.sort, behind or ()
    rows = await tx.fetch(
        f"SELECT found.*, c.state FROM ({sort.rows('id = ANY($3::uuid[])')}) AS found JOIN profile.customers AS c USING (id)"
        f" WHERE {_MEETS} AND {sort.behind('$5', '$6') if place else 'true'} {sort.order} LIMIT $4",
        search.terms,
        search.segments,
        list(candidates),
        None if words else search.limit + 1,
        *place,
    )
    found = [_found(row) for row in rows]
    if words:
        found = [each for each in found if words_match(each[1].traits, each[1].identifiers, words)]
    return _page(
        search, as_of, found[: search.limit], found[search.limit - 1][0] if len(found) > search.limit else None
    )


async def _walk(tx: Tx, search: Search, behind: Place | None, as_of: AsOf) -> dict[str, Any]:
    """A page of a list that is walked in its order."""
    sort, place = search.sort, behind or ()
    walked = f"SELECT * FROM ({sort.rows()}) AS every {{where}} {sort.order}"
    rows = await tx.fetch(
        "SELECT found.*, (SELECT state FROM profile.customers AS c WHERE c.id = found.id) AS state"
        f" FROM ({walked.format(where='WHERE ' + sort.behind('$5', '$6') if place else '')} LIMIT $3) AS found"
        f" WHERE {_MEETS} LIMIT $4",
        search.terms,
        search.segments,
        WALKED,
        search.limit + 1,
        *place,
    )
    found = [_found(row) for row in rows]
    if len(found) > search.limit:
        return _page(search, as_of, found[: search.limit], found[search.limit - 1][0])
    last = await tx.fetchrow(
        f"{walked.format(where='WHERE ' + sort.behind('$2', '$3') if place else '')} OFFSET $1 LIMIT 1",
        WALKED - 1,
        *place,
    )
    return _page(search, as_of, found, None if last is None else Place(last["value"], last["id"]))


def _found(row: Mapping[str, Any]) -> tuple[Place, Customer]:
    return Place(row["value"], row["id"]), state.decode(row["state"])


def _page(search: Search, as_of: AsOf, found: Sequence[tuple[Place, Customer]], last: Place | None) -> dict[str, Any]:
    if search.sort.by == "last_seen":  # the walk is by the hour
        found = sorted(found, key=lambda each: each[1].last or 0, reverse=search.sort.descending)
    return {
        "items": [shown(place.id, customer, as_of) for place, customer in found],
        "next": None if last is None else _cursor(last, search.sort),
    }


async def _refuse_unknown(tx: Tx, search: Search) -> None:
    """Raises Invalid for a segment that is not live, and for computed traits, which no term tells."""
    if search.segments:
        live = {
            row[0]
            for row in await tx.fetch(
                "SELECT name FROM profile.segments WHERE name = ANY($1::text[]) AND live_version IS NOT NULL",
                search.segments,
            )
        }
        if missing := [name for name in search.segments if name not in live]:
            raise Invalid(f"There is no live segment {missing[0]!r}: GET /v1/segments lists them.")
    names = [term.removeprefix("trait.").partition("=")[0] for term in search.terms if term.startswith("trait.")]
    if names:
        computed = await tx.fetchval(
            "SELECT name FROM profile.computed_traits WHERE name = ANY($1::text[]) AND live_version IS NOT NULL LIMIT 1",
            names,
        )
        if computed is not None:
            raise Invalid(f"{computed} is a computed trait: make a segment that reads it, and filter by the segment.")


def _term(name: str, value: str) -> str:
    kind, _, rest = name.partition(".")
    if not rest or not value or len(value) > LONGEST or len(rest) > LONGEST:
        raise Invalid(
            f"{name[:LONGEST]}: a filter has a name and a value of up to {LONGEST} characters: trait.plan=gold."
        )
    if kind == "trait":
        return trait_term(rest, value)
    key = read_key(rest)
    if key is None or value not in _STATUSES:
        raise Invalid(f"{name}: send granted, denied or pending of a purpose, or of a purpose and channel.")
    return consent_term(key, value)


def _range(prefix: str) -> tuple[str, str]:
    """The bounds of what begins with a prefix."""
    return prefix, prefix + _LAST


def _cursor(place: Place, sort: Sort) -> str:
    value = "" if place.value is None else place.value if sort.ranked else micros(place.value)
    return encoded(f"{sort.by}|{sort.descending:d}|{value}|{place.id}")


def _read_cursor(cursor: str, sort: Sort) -> Place:
    """Raises Invalid unless the cursor is of a list in this order."""
    try:
        by, descending, value, id = decoded(cursor, 4)
        if (by, descending) != (sort.by, f"{sort.descending:d}"):
            raise ValueError("of another order")
        if sort.by == "id":
            return Place(None, UUID(id))
        number = int(value)
        if not -(2**63) <= number < 2**63:
            raise ValueError("out of range")
        return Place(number if sort.ranked else moment(number), UUID(id))
    except (ValueError, OverflowError) as error:
        raise no_cursor() from error
