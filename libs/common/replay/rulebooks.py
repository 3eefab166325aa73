"""The log of rulebooks: which one held at which position of the journal."""

from bisect import bisect_right

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx


class RulebookLog:
    """For each partition, the positions from which rulebooks hold, in order."""

    def __init__(self, held: dict[int, list[tuple[int, int]]]) -> None:
        self._held = held

    @classmethod
    async def load(cls, tx: Tx, service: str) -> "RulebookLog":
        """As the service has logged it up to now.

        A partition that nobody read yet when rules were published is in no row: it began under what was the newest
        then, which is one less than the first that it has a row of.
        """
        rows = await tx.fetch(
            f'SELECT partition, next, number FROM "{service}".rulebook_positions WHERE topic = $1'
            " ORDER BY partition, number",
            JOURNAL,
        )
        begun = await tx.fetch(
            f"SELECT partition, rulebook FROM \"{service}\".positions WHERE reader = 'fold' AND topic = $1", JOURNAL
        )
        held: dict[int, list[tuple[int, int]]] = {row["partition"]: [] for row in begun}
        for row in rows:
            if not (known := held.setdefault(row["partition"], [])):
                known.append((0, row["number"] - 1))
            known.append((row["next"], row["number"]))
        for row in begun:
            if not held[row["partition"]]:
                held[row["partition"]] = [(0, row["rulebook"])]
        return cls(held)

    def at(self, partition: int, offset: int) -> int:
        """The rulebook under which the record at `offset` is folded."""
        held = self._held[partition]
        return held[bisect_right(held, offset, key=lambda each: each[0]) - 1][1]
