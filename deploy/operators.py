"""An operator's commands on the log, in the databases that the environment names."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import asyncpg

from libs.common.errors import RapportError
from services.connections import service_settings


def _run(command: str, work: Coroutine[Any, Any, list[str]]) -> int:
    """Print the lines that `work` returns, or why it failed. Returns the exit code."""
    try:
        lines = asyncio.run(work)
    except (RapportError, ValueError, OSError, asyncpg.PostgresError) as error:
        print(f"rapport {command}: {getattr(error, 'detail', error)}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def rewind(service: str, to: int, partition: int | None) -> int:
    """Let the service's forwarder send again from offset `to` on."""
    from libs.common.log import rewind

    async def work() -> list[str]:
        lines = []
        for tp, before, now in await rewind.rewind(service_settings(service), service, to, partition):
            older = f" (PostgreSQL no longer has {to})" if to < now < before else ""
            lines.append(f"{tp}: " + (f"stays at {before}" if now == before else f"from {before} back to {now}{older}"))
        return lines

    return _run("rewind", work())


def readers(service: str, expire: str | None) -> int:
    """List the readers of the topics in the service's database, with their positions; or expire one."""
    from libs.common.log import retention

    async def work() -> list[str]:
        settings = service_settings(service)
        connection = await asyncpg.connect(settings.dsn, ssl=settings.database_ssl(), timeout=5, command_timeout=30)
        try:
            if expire:
                await retention.expire(connection, expire)
                return [
                    f"{expire} is expired: records are not kept for it any more. If it reads again, it is registered again."
                ]
            return await retention.listed(connection) or ["No reader has read anything yet."]
        finally:
            await connection.close()

    return _run("readers", work())


def epoch(service: str, partition: int | None) -> int:
    """Begin a new epoch of the service's topic, in one partition or all."""
    from libs.common.contracts.registry import written_by
    from libs.common.log import epochs
    from libs.common.log.reader import TopicPartition

    async def work() -> list[str]:
        settings = service_settings(service)
        topic = written_by(service)
        partitions = range(settings.partitions) if partition is None else [partition]
        connection = await asyncpg.connect(settings.dsn, ssl=settings.database_ssl(), timeout=5, command_timeout=30)
        try:
            async with connection.transaction():
                begun = {
                    TopicPartition(topic, partition): await epochs.begin(connection, TopicPartition(topic, partition))
                    for partition in partitions
                }
        finally:
            await connection.close()
        return [f"{tp}: epoch {number} has begun" for tp, number in begun.items()]

    return _run("epoch", work())
