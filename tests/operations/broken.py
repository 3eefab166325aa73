"""A record that nobody can apply, put into the log as a defect would."""

import asyncpg

from deploy.local.platform import Platform


async def break_record(platform: Platform) -> None:
    """Append what is no record to `ingest.events`: it becomes a dead letter of profile."""
    connection = await asyncpg.connect(platform.dsn)
    try:
        async with connection.transaction():
            at = await connection.fetchval(
                "UPDATE log.heads SET next = next + 1 WHERE topic = 'ingest.events' AND partition = 0 RETURNING next - 1"
            )
            await connection.execute(
                'INSERT INTO log."ingest.events" (partition, "offset", key, time, value) VALUES (0, $1, $2, now(), $3)',
                at,
                "nobody",
                b"this is no record",
            )
    finally:
        await connection.close()
