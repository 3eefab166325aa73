"""A service that only binds and passes on, after a restore: what it writes again and the log has already is left out.

Profile takes no commands, so there is nothing to put back: its inputs are folded again from where the backup stands. Records
are known by their ids, which follow from what they were made of.
"""

from collections.abc import Sequence

from libs.common.db import Database, Tx
from libs.common.fold.work import Handler, Outcome, Work
from libs.common.log.reader import Record
from libs.common.log.tables import relation
from libs.common.records import decode
from libs.common.topics import written_by

_MAKE = """
CREATE TABLE "{service}_restored".known AS
SELECT json ->> 'id' AS id, json ->> 'type' AS type FROM (
  SELECT convert_from(record.value, 'UTF8')::json AS json FROM {relation} AS record JOIN log.imported
  ON imported.topic = $1 AND imported.partition = record.partition AND "offset" >= first
) AS records
"""
_KNOWN = 'SELECT id, type FROM "{service}_restored".known WHERE id = ANY($1)'


async def passing_over_known(database: Database, service: str, handler: Handler) -> Handler:
    """The handler, wrapped while there are records in the log that it does not know of; else as it is.

    The ids are indexed in the schema `<service>_restored`, once; an operator drops that schema when all has long been read
    again, and with it the look-ups.
    """
    (topic,) = written_by(service)
    schema = f"{service}_restored"
    async with database.transaction() as tx:
        await tx.execute("SET LOCAL transaction_timeout = 0")
        if await tx.fetchval("SELECT EXISTS (SELECT 1 FROM log.imported WHERE topic = $1)", topic):
            await tx.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
            await tx.execute(f'CREATE SCHEMA "{schema}"')
            await tx.execute(_MAKE.format(service=service, relation=relation(topic)), topic, timeout=3600)
            await tx.execute(f'CREATE INDEX ON "{schema}".known (id)', timeout=3600)
            await tx.execute("DELETE FROM log.imported WHERE topic = $1", topic)
        there = await tx.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.known")
    return PassingOver(service, handler) if there else handler


class PassingOver:
    """The handler, without the records that the log has already."""

    def __init__(self, service: str, handler: Handler) -> None:
        self._handler = handler
        self._known = _KNOWN.format(service=service)

    async def apply(self, tx: Tx, works: Sequence[Work]) -> Outcome:
        outcome = await self._handler.apply(tx, works)
        if outcome.outgoing:
            said = [(each, decode(each.value)) for each in outcome.outgoing]
            rows = await tx.fetch(self._known, [envelope.id for _, envelope in said])
            known = {(row[0], row[1]) for row in rows}
            outcome.outgoing = [each for each, envelope in said if (envelope.id, envelope.type) not in known]
        return outcome

    async def pass_over(self, tx: Tx, record: Record) -> None:
        await self._handler.pass_over(tx, record)
