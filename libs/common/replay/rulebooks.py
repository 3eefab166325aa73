"""Which rulebook was in force at which position of the journal."""

from bisect import bisect_right

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx


class RulebookLog:
    """For each partition, in order: (position, the rulebook in force from there on)."""

    def __init__(self, starts: dict[int, list[tuple[int, int]]]) -> None:
        self._starts = starts

    @classmethod
    async def load(cls, tx: Tx, service: str) -> "RulebookLog":
        """Load what the service has stored so far.

        Publishing stores a row for each partition that has a position. A partition without a position yet gets no row;
        it starts under the newest rulebook of that time, which is one less than that of its first row.
        """
        rows = await tx.fetch(
            f'SELECT partition, next, number FROM "{service}".rulebook_positions WHERE topic = $1'
            " ORDER BY partition, number",
            JOURNAL,
        )
        begun = await tx.fetch(
            f"SELECT partition, rulebook FROM \"{service}\".positions WHERE reader = 'fold' AND topic = $1", JOURNAL
        )
        starts_of: dict[int, list[tuple[int, int]]] = {row["partition"]: [] for row in begun}
        for row in rows:
            if not (starts := starts_of.setdefault(row["partition"], [])):
                starts.append((0, row["number"] - 1))
            starts.append((row["next"], row["number"]))
        for row in begun:
            if not starts_of[row["partition"]]:
                starts_of[row["partition"]] = [(0, row["rulebook"])]
        return cls(starts_of)

    def at(self, partition: int, offset: int) -> int:
        """The rulebook under which the record at `offset` was folded."""
        starts = self._starts[partition]
        return starts[bisect_right(starts, offset, key=lambda each: each[0]) - 1][1]
