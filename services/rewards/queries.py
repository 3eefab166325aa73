"""Programmes as they are read: versions, pages, and which one is live. Each takes the caller's transaction or connection."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from services.rewards.feature import Feature, Live
from services.rewards.programme import Programme

Record = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIVE = "(SELECT version FROM rewards.programmes live WHERE live.id = p.id AND status = 'live') AS live_version"


def tag(row: Record) -> str:
    """The ETag of a programme in the state of its newest version."""
    edited = (row["edited_at"] - _EPOCH) // timedelta(microseconds=1)
    return f'"{row["version"]}-{row["status"]}-{edited}"'


async def one(tx: Tx, id: UUID, version: int | None) -> Record:
    """A version of a programme, by default the newest. Raises NotFound."""
    row = await tx.fetchrow(
        f"SELECT p.*, {_LIVE} FROM rewards.programmes p WHERE id = $1 AND ($2::int IS NULL OR version = $2)"
        " ORDER BY version DESC LIMIT 1",
        id,
        version,
    )
    if row is None:
        raise unknown(id, version)
    return dict(row)


async def page(tx: Tx, limit: int, cursor: UUID | None) -> list[Record]:
    """The newest version of each programme, the newest programme first."""
    rows = await tx.fetch(
        f"SELECT DISTINCT ON (id) p.*, {_LIVE} FROM rewards.programmes p WHERE $2::uuid IS NULL OR id < $2"
        " ORDER BY id DESC, version DESC LIMIT $1",
        limit,
        cursor,
    )
    return [dict(row) for row in rows]


def live_section(feature: Feature) -> Live:
    """Gives a feature's section of the programme in force, its default when there is none."""

    async def read(tx: Tx) -> Any:
        content = await tx.fetchval("SELECT content FROM rewards.programmes WHERE status = 'live'")
        programme = None if content is None else Programme.model_validate_json(content)
        return feature.default if programme is None else getattr(programme, feature.section_key)

    return read


def unknown(id: UUID, version: int | None) -> NotFound:
    """There is no such programme, or no such version of it."""
    return NotFound(f"there is no programme {id}" if version is None else f"programme {id} has no version {version}")
