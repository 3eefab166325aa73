"""Sends with Segment's own Python SDK, with only its host set. Raises on every failure, because the SDK itself does not."""

from collections.abc import Callable, Iterable

from segment.analytics.client import Client

from deploy.demo.purchases import Event
from deploy.local.errors import LocalError

#: From 10,000 queued events on the SDK drops silently: flush well before.
FLUSH_EVERY = 1000


def send(events: Iterable[Event], write_key: str, host: str, progress: Callable[[int], None]) -> int:
    """Send `events` in order and return how many; `progress` is called with the number of events just sent.

    Raises LocalError when the SDK reports an error or refuses an event. Blocks.
    """
    errors: list[str] = []

    def on_error(error: Exception, items: object) -> None:
        errors.append(f"{type(error).__name__}: {error}")

    client = Client(write_key, host=host, on_error=on_error, upload_size=100, upload_interval=0.05, max_retries=5)
    sent = waiting = 0
    try:
        for event in events:
            accepted, _ = _call(client, event)
            if not accepted:
                raise LocalError(f"The SDK's queue is full: it would lose {event.message_id}.")
            waiting += 1
            if waiting == FLUSH_EVERY:
                sent, waiting = sent + _flushed(client, errors, waiting, progress), 0
        return sent + _flushed(client, errors, waiting, progress)
    finally:
        client.join()


def _call(client: Client, event: Event) -> tuple[bool, object]:
    ids = {"user_id": event.user_id, "anonymous_id": event.anonymous_id, "message_id": event.message_id}
    consent = {"categoryPreferences": {"marketing": True}}  # as a shop's consent banner gives it to the SDK
    if event.kind == "identify":
        result = client.identify(traits=event.properties, timestamp=event.at, context={"consent": consent}, **ids)
    else:
        result = client.track(
            event="Order Completed",
            properties=event.properties,
            timestamp=event.at,
            context={"consent": consent},
            **ids,
        )
    accepted, message = result
    return bool(accepted), message


def _flushed(client: Client, errors: list[str], count: int, progress: Callable[[int], None]) -> int:
    client.flush()
    if errors:
        raise LocalError(f"Ingest refused {len(errors)} batches: {errors[0]}")
    progress(count)
    return count
