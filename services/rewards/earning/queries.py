"""What earning's route reads, in the caller's transaction."""

from collections.abc import Sequence

from libs.common.contracts.input import Resource
from libs.common.db import bulk
from libs.common.db.pool import Tx


async def taken(tx: Tx, resources: Sequence[Resource]) -> dict[Resource, int]:
    """How much has been taken of each shared resource; 0 of one on which nobody has drawn yet."""
    if not resources:
        return {}
    rows = await tx.fetch(
        "SELECT kind, id, period, part, value FROM rewards.shared JOIN unnest($1::text[], $2::text[], $3::text[], $4::int[])"
        " AS wanted(kind, id, period, part) USING (kind, id, period, part)",
        *bulk.transposed(resources),
    )
    return dict.fromkeys(resources, 0) | {Resource(*row[:4]): row[4] for row in rows}
