"""Rulebooks: the numbered versions of a service's rules. Each partition's position stores the rulebook in force.

Publishing locks every position of the fold, so each record is folded under exactly one rulebook. It also stores the
positions from which the rulebook applies; a replay uses them.
"""

from libs.common.db.pool import Tx


async def publish(tx: Tx, service: str, content: bytes, by: str) -> int:
    """Publish `content` as the next rulebook, from the current position of every partition on. Returns its number.

    Waits for the batches in flight. Does not commit.
    """
    await newest(tx, service)
    await tx.execute(
        f"SELECT 1 FROM \"{service}\".positions WHERE reader = 'fold' ORDER BY topic, partition FOR UPDATE"
    )
    number: int = await tx.fetchval(
        f'INSERT INTO "{service}".rulebooks (number, content, published_by)'
        f' SELECT coalesce(max(number), 0) + 1, $1, $2 FROM "{service}".rulebooks RETURNING number',
        content,
        by,
    )
    await tx.execute(
        f'INSERT INTO "{service}".rulebook_positions (number, topic, partition, next)'
        f" SELECT $1, topic, partition, next FROM \"{service}\".positions WHERE reader = 'fold'",
        number,
    )
    await tx.execute(f"UPDATE \"{service}\".positions SET rulebook = $1 WHERE reader = 'fold'", number)
    return number


async def newest(tx: Tx, service: str) -> int:
    """The number of the newest rulebook, 0 if there is none. Locks out other publishers until the transaction ends."""
    await tx.execute(f'LOCK TABLE "{service}".rulebooks IN SHARE ROW EXCLUSIVE MODE')
    number: int = await tx.fetchval(f'SELECT coalesce(max(number), 0) FROM "{service}".rulebooks')
    return number


async def content(tx: Tx, service: str, number: int) -> bytes | None:
    """A rulebook's content; None for number 0, which means that nothing was published yet."""
    value: bytes | None = await tx.fetchval(f'SELECT content FROM "{service}".rulebooks WHERE number = $1', number)
    return value
