"""What marketers write in versions: segments and computed traits. A draft, published versions, and the archive.

Each kind has two tables (`segments`, `segment_versions`) and a model that is stored as JSON. Functions take the caller's
transaction and do not commit.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel

from libs.common.contracts.ids import fresh
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, NotFound
from libs.common.fold import rulebooks
from libs.common.http.etag import refuse_stale


class Document(Protocol):
    """A version's content. What is `fixed` never changes, because rules know the document by it."""

    name: str

    @property
    def fixed(self) -> tuple[object, ...]: ...
    def model_dump_json(self) -> str: ...


Row = Mapping[str, Any]
D = TypeVar("D", bound=Document)


def tag(row: Row) -> str:
    """The ETag of a document."""
    return f'"{row["version"]}-{row["status"]}-{row["live_version"] or 0}"'


class Documents(Generic[D]):
    """The documents of one kind. `put_in_force` publishes a rulebook of everything that is live."""

    def __init__(
        self,
        noun: str,
        table: str,
        path: str,
        model: type[BaseModel],
        put_in_force: Callable[[Tx, str], Awaitable[None]],
    ) -> None:
        self._noun = noun
        self._path = path
        self._model = model
        self._put_in_force = put_in_force
        self._table = f"profile.{table}s"
        self._versions = f"profile.{table}_versions"
        self._shown = (
            "SELECT d.id, d.name, d.status, d.version, d.live_version, d.created_at, v.content, v.edited_by, v.edited_at,"
            f" v.published_by, v.published_at FROM {self._table} d"
            f" JOIN {self._versions} v ON v.document = d.id AND v.version = {{version}}"
        )

    async def create(self, tx: Tx, document: D, by: str) -> UUID:
        """Create a draft. Raises Conflict when the name is taken, also by an archived one: rules may still name it."""
        id = fresh()
        status = await tx.execute(
            f"INSERT INTO {self._table} (id, name, status, version) VALUES ($1, $2, 'draft', 1) ON CONFLICT (name) DO NOTHING",
            id,
            document.name,
        )
        if status == "INSERT 0 0":
            raise Conflict(f"Another {self._noun} is, or was, named {document.name!r}: rules know it by its name.")
        await self._add_version(tx, id, 1, document, by)
        return id

    async def edit(self, tx: Tx, id: UUID, document: D, by: str, if_match: str | None = None) -> None:
        """Add a version, unless it equals the newest; the live one stays in force. Raises NotFound, PreconditionFailed,
        Conflict."""
        row = await self.get(tx, id, lock=True)
        refuse_stale(if_match, tag(row), f"Somebody has changed this {self._noun} since.")
        known = self.content_of(row)
        if known == document:
            return
        self._refuse_archived(row)
        if document.fixed != known.fixed:
            raise Conflict(f"A {self._noun} keeps its name and kind, because rules know it so: make a new one.")
        await self._add_version(tx, id, row["version"] + 1, document, by)
        await tx.execute(f"UPDATE {self._table} SET version = version + 1 WHERE id = $1", id)

    async def publish(self, tx: Tx, id: UUID, by: str, if_match: str | None = None) -> None:
        """Put the newest version in force for what is folded from now on, and begin to evaluate all customers. No-op if it
        is. Raises NotFound, PreconditionFailed, Conflict."""
        await rulebooks.newest(tx, "profile")  # locks out other publishers
        row = await self.get(tx, id, lock=True)
        refuse_stale(if_match, tag(row), f"Somebody has changed this {self._noun} since.")
        self._refuse_archived(row)
        if row["live_version"] == row["version"]:
            return
        await tx.execute(f"UPDATE {self._table} SET status = 'live', live_version = version WHERE id = $1", id)
        await tx.execute(
            f"UPDATE {self._versions} SET published_at = clock_timestamp(), published_by = $3"
            " WHERE document = $1 AND version = $2",
            id,
            row["version"],
            by,
        )
        await self._put_in_force(tx, by)

    async def archive(self, tx: Tx, id: UUID, by: str) -> None:
        """Take it out of force for good. No-op if it is archived. Raises NotFound."""
        await rulebooks.newest(tx, "profile")
        row = await self.get(tx, id, lock=True)
        await tx.execute(f"UPDATE {self._table} SET status = 'archived', live_version = NULL WHERE id = $1", id)
        if row["status"] == "live":
            await self._put_in_force(tx, by)

    async def get(self, tx: Tx, id: UUID, *, lock: bool = False) -> Row:
        """A document in its newest version. Raises NotFound."""
        if lock:
            await tx.execute(f"SELECT 1 FROM {self._table} WHERE id = $1 FOR UPDATE", id)
        row: Row | None = await tx.fetchrow(self._shown.format(version="d.version") + " WHERE d.id = $1", id)
        if row is None:
            raise NotFound(f"There is no {self._noun} {id}: GET {self._path} lists them.")
        return row

    async def page(self, tx: Tx, limit: int, cursor: UUID | None) -> list[Row]:
        """The documents in their newest versions, the oldest first."""
        rows: list[Row] = await tx.fetch(
            self._shown.format(version="d.version") + " WHERE $1::uuid IS NULL OR d.id > $1 ORDER BY d.id LIMIT $2",
            cursor,
            limit,
        )
        return rows

    async def live(self, tx: Tx) -> list[tuple[D, int]]:
        """The live documents, each with the version in force."""
        query = self._shown.format(version="d.live_version") + " WHERE d.status = 'live' ORDER BY d.id"
        return [(self.content_of(row), row["live_version"]) for row in await tx.fetch(query)]

    def content_of(self, row: Row) -> D:
        found: Any = self._model.model_validate_json(row["content"])
        document: D = found
        return document

    def _refuse_archived(self, row: Row) -> None:
        if row["status"] == "archived":
            raise Conflict(f"This {self._noun} is archived: make a new one.")

    async def _add_version(self, tx: Tx, id: UUID, version: int, document: D, by: str) -> None:
        await tx.execute(
            f"INSERT INTO {self._versions} (document, version, content, edited_by) VALUES ($1, $2, $3, $4)",
            id,
            version,
            document.model_dump_json(),
            by,
        )
