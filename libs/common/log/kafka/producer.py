"""Writes to Kafka. Used by the forwarder, by ingest for events, and by profile for its watermark.

It wraps an aiokafka producer (idempotent, acks=all). One sender at a time uses it for a partition, because concurrent
sends to one partition get out of order. aiokafka never lets a batch expire, so this module has its own deadline. After
an error, or without progress for half the deadline, the inner producer is discarded with all that it holds; the next
`send` connects another one.
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
from libs.common.log.kafka.topics import CONNECT_TIMEOUT, KAFKA_ERRORS, RETRY_MS, kafka_name
from libs.common.log.partition import partition_of
from libs.common.settings import Settings

logger = structlog.get_logger()

Headers: TypeAlias = Sequence[tuple[str, bytes]]

DEADLINE = 15.0
#: The size of a batch before compression. A larger record gets its own batch.
BATCH_BYTES = 500_000
#: The most bytes that wait for an acknowledgement.
MAX_PENDING_BYTES = 64_000_000


class _Sending:
    """One partition of one topic. The lock lets one task send at a time; `waiting_since` is when it began to wait for
    an acknowledgement."""

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
        """Connect. Raises Unavailable if Kafka cannot be reached."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._connected()
        except KAFKA_ERRORS as error:
            raise self._unavailable(error) from error

    async def stop(self) -> None:
        """Disconnect. Sends that are not acknowledged fail."""
        if self._building:
            self._building.cancel()
            await asyncio.gather(self._building, return_exceptions=True)
        if self._inner:
            self._discard(self._inner, "stopped")
        await asyncio.gather(*self._discarding)

    async def send(
        self, topic: str, records: Sequence[Outgoing], headers: Sequence[Headers] = (), partition: int | None = None
    ) -> None:
        """Send `records`, each to the partition of its key, or all to `partition`. `headers`: one entry each, or none.

        Returns when all are acknowledged. Within a partition, records are written in the order given, and in the order
        of the calls. Raises TooLarge if a record is over 900 KB; nothing was sent then. Raises Unavailable if not all
        were acknowledged in time; any of them may have been written then.
        """
        indexes_by_partition: dict[int, list[int]] = defaultdict(list)
        size = 0
        for index, record in enumerate(records):
            if len(record.value) > LARGEST:
                raise TooLarge(f"a record of {len(record.value):,} bytes is over the log's limit of {LARGEST:,}")
            size += len(record.value)
            number = partition_of(record.key, self._settings.partitions) if partition is None else partition
            indexes_by_partition[number].append(index)
        if self._bytes and self._bytes + size > MAX_PENDING_BYTES:
            raise Unavailable(f"{self._bytes:,} bytes are already waiting for Kafka", retry_after=2)
        self._bytes += size
        try:
            async with asyncio.timeout(self._deadline), asyncio.TaskGroup() as group:
                for number, indexes in indexes_by_partition.items():
                    group.create_task(self._send_partition(topic, number, indexes, records, headers))
        except ExceptionGroup as errors:
            # the traceback and the task group's frame refer to each other and would keep the records until the next gc
            error = errors.with_traceback(None).exceptions[0]
            raise (self._unavailable(error) if isinstance(error, KAFKA_ERRORS) else error) from errors
        except TimeoutError as error:
            raise self._unavailable(error) from error
        finally:
            self._bytes -= size

    async def _send_partition(
        self, topic: str, partition: int, indexes: list[int], records: Sequence[Outgoing], headers: Sequence[Headers]
    ) -> None:
        sending = self._sending[topic, partition]
        name = kafka_name(self._settings, topic)
        rest = iter(indexes)
        index = next(rest, None)
        async with sending.lock:
            while index is not None:
                inner = await self._connected()
                batch, index = _filled(inner.create_batch(), index, rest, records, headers)
                sending.waiting_since = sending.waiting_since or time.monotonic()
                try:
                    await (await inner.send_batch(batch, name, partition=partition))
                except asyncio.CancelledError:
                    if time.monotonic() - sending.waiting_since > self._deadline / 2:
                        self._discard(inner, "no progress")
                        sending.waiting_since = None
                    raise
                except Exception as error:
                    sending.waiting_since = None
                    self._discard(inner, repr(error))
                    raise
                sending.waiting_since = None

    async def _connected(self) -> Any:
        """The inner producer. Connects one if there is none; concurrent callers share the attempt."""
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
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await inner.start()
        except BaseException:
            await _close(inner)
            raise
        self._inner = inner

    def _discard(self, inner: Any, reason: str) -> None:
        if self._inner is not inner:
            return
        self._inner = None
        if reason != "stopped":
            logger.warning("kafka producer discarded", reason=reason)
        task = asyncio.create_task(_close(inner), name="kafka producer's end")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    def _unavailable(self, error: BaseException) -> Unavailable:
        if isinstance(error, TimeoutError):
            return Unavailable(f"Kafka did not acknowledge within {self._deadline:g} s")
        return Unavailable(f"Kafka did not acknowledge ({self._settings.kafka_bootstrap}): {error!r}")


def _filled(
    batch: Any, index: int | None, rest: Iterable[int], records: Sequence[Outgoing], headers: Sequence[Headers]
) -> tuple[Any, int | None]:
    """Fill a batch with records from `index` on. Returns it and the index of the first record that did not fit."""
    now = int(time.time() * 1000)  # Kafka's retention counts from the append, not from the event
    indexes = iter(rest)
    while index is not None:
        record = records[index]
        taken = batch.append(
            timestamp=now, key=record.key.encode(), value=record.value, headers=list(headers[index]) if headers else []
        )
        if taken is None:
            break
        index = next(indexes, None)
    batch.close()
    return batch, index


async def _close(inner: Any) -> None:
    """Close an aiokafka producer immediately. Unsent records fail; otherwise they might arrive after newer ones.

    aiokafka's own `stop` waits until a broker has taken everything. So this ends its sender and fails its batches
    first.
    """
    sender = inner._sender.sender_task
    if sender is not None:
        sender.cancel()
        await asyncio.sleep(0)
    await inner.client.close()
    while sender is not None and not sender.done():  # it may wait for requests to a broker
        await asyncio.wait([sender], timeout=0.5)
        sender.cancel()
    accumulator = inner._message_accumulator
    batches = [*accumulator._pending_batches, *(batch for queue in accumulator._batches.values() for batch in queue)]
    accumulator._pending_batches.update(batches)  # a failing batch removes itself from these, even one to be retried
    accumulator.fail_all(ProducerClosed())
    for future in (future for batch in batches for future in (batch.future, batch._drain_waiter)):
        if future.done() and not future.cancelled():
            future.exception()  # marks it as retrieved, so that asyncio does not log it
    await inner.stop()
