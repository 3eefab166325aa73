"""Writing to Kafka: the forwarder; ingest, which keeps nothing itself; profile, which tells until when all is heard.

An inner aiokafka producer (idempotent, acks=all) is used by one sender a partition at a time, because many that send to
one partition get out of order. It never lets a batch expire, so the deadline is ours; an error, or no progress for half
the deadline, and it is thrown away with all that it still holds, and made anew by the next `send`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

from libs.common.contracts.records import LARGEST
from libs.common.errors import TooLarge, Unavailable
from libs.common.log.append import Outgoing
from libs.common.log.kafka.topics import AWAY, CONNECT, RETRY_MS, kafka_name
from libs.common.log.partition import partition_of
from libs.common.settings import Settings

logger = structlog.get_logger()

Headers: TypeAlias = Sequence[tuple[str, bytes]]

DEADLINE = 15.0
#: Of a batch before compression; a single larger record makes a batch of its own.
BATCH_BYTES = 500_000
#: Of records given to `send` and not yet acknowledged.
MOST_BYTES = 64_000_000


class _Sending:
    """One partition of one topic: who may send now, and since when nothing was acknowledged though something waits."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting_since: float | None = None


class Producer:
    """Sends records to Kafka, acknowledged by all replicas in sync. Safe to use from many tasks."""

    def __init__(self, settings: Settings, deadline: float = DEADLINE) -> None:
        self._settings = settings
        self._deadline = deadline
        self._sending: defaultdict[tuple[str, int], _Sending] = defaultdict(_Sending)
        self._bytes = 0
        self._inner: Any = None
        self._building: asyncio.Task[Any] | None = None
        self._discarding: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises Unavailable when Kafka cannot be reached."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._connected()
        except AWAY as error:
            raise self._unavailable(error) from error

    async def stop(self) -> None:
        """Disconnect; what is not acknowledged fails."""
        if self._building:
            self._building.cancel()
            await asyncio.gather(self._building, return_exceptions=True)
        if self._inner:
            self._throw_away(self._inner, "stopped")
        await asyncio.gather(*self._discarding)

    async def send(
        self, topic: str, records: Sequence[Outgoing], headers: Sequence[Headers] = (), partition: int | None = None
    ) -> None:
        """Send `records`, each to the partition of its key (or all to `partition`); `headers` are one a record, or none.

        Returns when all are acknowledged; those of one partition are written in the order given, and of the calls.
        Raises TooLarge (nothing was sent) when a record is over 900 KB; Unavailable when not all were acknowledged in
        time: any of them may have been written, or not.
        """
        places_in: dict[int, list[int]] = defaultdict(list)
        size = 0
        for place, record in enumerate(records):
            if len(record.value) > LARGEST:
                raise TooLarge(f"a record of {len(record.value):,} bytes is over the log's limit of {LARGEST:,}")
            size += len(record.value)
            number = partition_of(record.key, self._settings.partitions) if partition is None else partition
            places_in[number].append(place)
        if self._bytes and self._bytes + size > MOST_BYTES:
            raise Unavailable(f"{self._bytes:,} bytes wait for Kafka already", retry_after=2)
        self._bytes += size
        try:
            async with asyncio.timeout(self._deadline), asyncio.TaskGroup() as group:
                for number, places in places_in.items():
                    group.create_task(self._send_partition(topic, number, places, records, headers))
        except ExceptionGroup as errors:
            # the task group's frame holds its error and it that, and with it the records, till the next collection
            error = errors.with_traceback(None).exceptions[0]
            raise (self._unavailable(error) if isinstance(error, AWAY) else error) from errors
        except TimeoutError as error:
            raise self._unavailable(error) from error
        finally:
            self._bytes -= size

    async def _send_partition(
        self, topic: str, partition: int, places: list[int], records: Sequence[Outgoing], headers: Sequence[Headers]
    ) -> None:
        sending = self._sending[topic, partition]
        name = kafka_name(self._settings, topic)
        rest = iter(places)
        place = next(rest, None)
        async with sending.lock:
            while place is not None:
                inner = await self._connected()
                batch, place = _filled(inner.create_batch(), place, rest, records, headers)
                sending.waiting_since = sending.waiting_since or time.monotonic()
                try:
                    await (await inner.send_batch(batch, name, partition=partition))
                except asyncio.CancelledError:
                    if time.monotonic() - sending.waiting_since > self._deadline / 2:
                        self._throw_away(inner, "no progress")
                        sending.waiting_since = None
                    raise
                except Exception as error:
                    sending.waiting_since = None
                    self._throw_away(inner, repr(error))
                    raise
                sending.waiting_since = None

    async def _connected(self) -> Any:
        """The inner producer, made if there is none: one attempt, which all who wait share."""
        if self._inner is None:
            if self._building is None or self._building.done():
                self._building = asyncio.create_task(self._connect(), name="kafka producer")
            await asyncio.shield(self._building)
        return self._inner

    async def _connect(self) -> None:
        inner = AIOKafkaProducer(
            **self._settings.kafka_options(),
            client_id="rapport",
            enable_idempotence=True,
            acks="all",
            compression_type="zstd",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=15_000,
            retry_backoff_ms=RETRY_MS,
            metadata_max_age_ms=2_000,
        )
        try:
            async with asyncio.timeout(CONNECT):
                await inner.start()
        except BaseException:
            await _close(inner)
            raise
        self._inner = inner

    def _throw_away(self, inner: Any, reason: str) -> None:
        if self._inner is not inner:
            return
        self._inner = None
        if reason != "stopped":
            logger.warning("kafka producer given up", reason=reason)
        task = asyncio.create_task(_close(inner), name="kafka producer's end")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    def _unavailable(self, error: BaseException) -> Unavailable:
        if isinstance(error, TimeoutError):
            return Unavailable(f"Kafka did not acknowledge within {self._deadline:g} s")
        return Unavailable(f"Kafka did not acknowledge ({self._settings.kafka_bootstrap}): {error!r}")


def _filled(
    batch: Any, place: int | None, rest: Iterable[int], records: Sequence[Outgoing], headers: Sequence[Headers]
) -> tuple[Any, int | None]:
    """The batch with as many records as it takes, from `place` on, and the place of the first that it did not."""
    now = int(time.time() * 1000)  # Kafka's retention counts from the append, not from when something happened
    places = iter(rest)
    while place is not None:
        record = records[place]
        taken = batch.append(
            timestamp=now, key=record.key.encode(), value=record.value, headers=list(headers[place]) if headers else []
        )
        if taken is None:
            break
        place = next(places, None)
    batch.close()
    return batch, place


async def _close(inner: Any) -> None:
    """Close an aiokafka producer at once: what it has not sent fails, instead of being delivered late, after newer ones.

    Its own `stop` waits until a broker has taken everything. So its sender is ended first, and its batches failed.
    """
    sender = inner._sender.sender_task
    if sender is not None:
        sender.cancel()
        await asyncio.sleep(0)
    await inner.client.close()
    while sender is not None and not sender.done():  # it waits for requests that wait for a broker: not patient
        await asyncio.wait([sender], timeout=0.5)
        sender.cancel()
    accumulator = inner._message_accumulator
    batches = [*accumulator._pending_batches, *(batch for queue in accumulator._batches.values() for batch in queue)]
    accumulator._pending_batches.update(
        batches
    )  # each takes itself out when it fails, also one that was to be sent again
    accumulator.fail_all(ProducerClosed())
    for future in (future for batch in batches for future in (batch.future, batch._drain_waiter)):
        if future.done() and not future.cancelled():
            future.exception()  # seen: else it would be logged as never retrieved
    await inner.stop()
