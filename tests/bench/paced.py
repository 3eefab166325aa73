"""A process that sends events at a steady rate, whatever the answers do: `python -m tests.bench.paced SPEC`.

Prints, in lines: the moment at which it begins; at the end, as a JSON list, when each body was sent. All by
`time.monotonic()`, which is the same in all processes of a machine.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import msgspec
import uvloop

from tests.bench.load import Connection, request
from tests.bench.workload import BATCH, CUSTOMERS, Workload

CONNECTIONS = 16
#: Seconds from the start of the process's own work to the first body.
AHEAD = 0.2


class Spec(msgspec.Struct, frozen=True):
    """`count` bodies, `rate` a second. `kind`: `orders` are single orders, each of a new customer (`prefix` and a number);
    `customer` batches of 100 events, all of the customer `prefix`, `views` the same without orders, `customers` the same of
    CUSTOMERS; `singles` events of many customers."""

    port: int
    authorization: str
    kind: str
    prefix: str
    rate: float
    count: int


def bodies(spec: Spec) -> Iterator[bytes]:
    """What is sent, as requests."""
    prefix = spec.prefix.encode()
    path, made = "/v1/track", Workload().singles(spec.count)
    if spec.kind == "orders":
        made = Workload(lambda number: b"%b-%d" % (prefix, number)).orders(spec.count)
    elif spec.kind in ("customer", "views"):
        path = "/v1/batch"
        made = Workload(lambda _: prefix, ordering=spec.kind == "customer").batches(spec.count * BATCH)
    elif spec.kind == "customers":
        path = "/v1/batch"
        made = Workload(lambda number: b"%b-%d" % (prefix, number % CUSTOMERS)).batches(spec.count * BATCH)
    return (request(path, body, spec.authorization) for body in made)


async def main(spec: Spec) -> None:
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await Connection.open(spec.port))
    requests = list(bodies(spec))
    begin = time.monotonic() + AHEAD
    print(begin, flush=True)  # noqa: T201

    async def one(message: bytes) -> None:
        connection = await idle.get()
        await connection.ask(message)
        idle.put_nowait(connection)

    sent: list[float] = []
    async with asyncio.TaskGroup() as group:
        for number, message in enumerate(requests):
            if (pause := begin + number / spec.rate - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            sent.append(time.monotonic())  # a body that waits for a connection waits from now on
            group.create_task(one(message))
    print(json.dumps(sent))  # noqa: T201


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Spec)))
