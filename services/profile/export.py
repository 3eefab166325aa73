"""An export of a person: one ZIP of JSON with what all five services have. Profile knows the person's ids and identifiers, and
asks the other services over their declared routes, with the caller's token."""

import asyncio
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple
from uuid import UUID

import httpx
import msgspec

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import SERVICES
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.fold.personal import Personal, held
from libs.common.log.tables import relation
from services.profile import models
from services.profile.domain import state

#: Seconds that another service may take.
PATIENCE = 300.0
#: From this size on the ZIP lies in a file.
IN_MEMORY = 8_000_000
_JOURNAL = f"""
SELECT value FROM {relation(JOURNAL)} WHERE key = ANY($1::text[]) ORDER BY time, partition, "offset"
"""


class Person(NamedTuple):
    """Who is exported: their customer, those merged into it, and their identifiers."""

    customer: UUID
    also: Sequence[UUID]
    identifiers: Sequence[str]

    @property
    def customers(self) -> list[UUID]:
        return [self.customer, *self.also]


async def person(tx: Tx, customer: UUID) -> Person:
    """The person behind a customer's id."""
    value = await tx.fetchval("SELECT state FROM profile.customers WHERE id = $1", customer)
    known = state.decode(value or b"")
    return Person(customer, [UUID(id) for id in known.merged], sorted(known.identifiers))


async def from_others(person: Person, urls: Mapping[str, str], authorization: str) -> dict[str, Any]:
    """What the other services have, by service and table. Raises Unavailable, naming the service that did not answer: an export
    is whole or not at all."""
    others = [name for name in SERVICES if name != "profile"]
    if missing := [name for name in others if name not in urls]:
        raise Unavailable(f"RAPPORT_PROFILE_SERVICE_URLS does not say where {' and '.join(missing)} can be reached")
    async with httpx.AsyncClient(timeout=PATIENCE, headers={"authorization": authorization}) as client:
        answers = await asyncio.gather(*(_ask(client, name, urls[name], person) for name in others))
    return dict(zip(others, answers, strict=True))


async def _ask(client: httpx.AsyncClient, service: str, url: str, person: Person) -> Any:
    body = {"customers": [str(id) for id in person.customers], "identifiers": list(person.identifiers)}
    try:
        answer = await client.post(f"{url.rstrip('/')}/v1/{service}/export", json=body)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content)["held"]
    except (httpx.HTTPError, msgspec.MsgspecError, KeyError) as error:
        raise Unavailable(f"{service} did not give its part of the export: {error!r}", retry_after=10) from error


async def zipped(tx: Tx, person: Person, others: Mapping[str, Any]) -> IO[bytes]:
    """The ZIP: a folder a service, a file a table, and the journal, one record a line. `tx` is a transaction. Close the file."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        about = {
            "customer": person.customer,
            "merged_from": person.also,
            "identifiers": person.identifiers,
            "exported_at": datetime.now(UTC),
        }
        archive.writestr("person.json", _json(about))
        services = {**others, "profile": await held(tx, "profile", Personal(models.PERSONAL), person.customers)}
        for service in SERVICES:
            for table, rows in services[service].items():
                archive.writestr(f"{service}/{table}.json", _json(rows))
        with archive.open("profile/journal.ndjson", "w") as journal:
            async for (value,) in tx.cursor(_JOURNAL, [str(id) for id in person.customers]):
                journal.write(value + b"\n")
    file.seek(0)
    return file


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
