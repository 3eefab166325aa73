"""Reads the journal for a replay, from profile's database, which keeps it for ever, whichever log services read."""

from uuid import UUID

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.log.partition import partition_of
from libs.common.log.reader import LARGEST_FETCH, Record
from libs.common.log.tables import relation

#: Rows in order, until their values reach $4 bytes.
_ROWS = f"""
SELECT "offset", key, value, appended_at FROM (
  SELECT *, sum(octet_length(value)) OVER (ORDER BY "offset" ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
  FROM (SELECT "offset", key, value, appended_at FROM {relation(JOURNAL)}
        WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset") AS rows
) AS sized WHERE before < $4 ORDER BY "offset"
"""


class ReplayFailed(Exception):
    """The journal cannot be folded again. The message says where and why; `record` is set if that record failed."""

    def __init__(self, message: str, record: Record | None = None) -> None:
        super().__init__(message)
        self.record = record


class Journal:
    """`tx` is a connection to profile's database."""

    def __init__(self, tx: Tx, partitions: int) -> None:
        self._tx = tx
        self.partitions = partitions

    def partition_of(self, customer: UUID) -> int:
        """The partition of a customer."""
        return partition_of(str(customer), self.partitions)

    async def read(self, partition: int, first: int, end: int) -> list[Record]:
        """The records from `first` to before `end`, or fewer if they are large. Raises ReplayFailed."""
        rows = await self._tx.fetch(_ROWS, partition, first, end, LARGEST_FETCH)
        if not rows or rows[0][0] != first or rows[-1][0] - first + 1 != len(rows):
            next = f"record {rows[0][0]}" if rows else "nothing"
            raise ReplayFailed(
                f"{JOURNAL}/{partition}: the journal no longer has record {first}, which was folded ({next} follows);"
                " a replay needs the whole journal"
            )
        return [Record(JOURNAL, partition, row[0], row[1], row[2], row[3], row[0]) for row in rows]
