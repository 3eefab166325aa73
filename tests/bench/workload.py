"""What the measurements send: events of about 500 bytes, made at the cost of filling in a form."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

BATCH = 100
#: Of so many events one is an order, the others are views.
ORDERS = 5
CUSTOMERS = 2_000

_FORM = {
    "type": "track",
    "event": "%b",
    "userId": "%b",
    "anonymousId": "browser-%b",
    "messageId": "%b",
    "timestamp": "@",
    "properties": {"order_id": "%b", "revenue": "#", "currency": "USD", "path": "/p" * 40},
    "context": {"library": {"name": "bench", "version": "1"}, "page": {"url": "https://shop.example/p/1"}},
}


class Workload:
    """Events that nobody has sent before, by number from `first` on. `who` says whose the event of a number is; without
    `ordering` all are views."""

    def __init__(
        self,
        who: Callable[[int], bytes] = lambda number: b"user-%d" % (number % CUSTOMERS),
        first: int = 0,
        *,
        ordering: bool = True,
    ) -> None:
        self._who = who
        self._ordering = ordering
        self._run = uuid.uuid4().hex[:16].encode()
        form = json.dumps(_FORM).replace("@", datetime.now(UTC).isoformat()).replace('"#"', "%d")
        self._form = form.encode()
        self._next = first

    def event(self, number: int, *, order: bool) -> bytes:
        """One event as JSON."""
        who, id = self._who(number), b"%b%016x" % (self._run, number)
        name = b"Order Completed" if order else b"Product Viewed"
        return self._form % (name, who, who, id, id, 10 + number % 90)

    def singles(self, count: int) -> Iterator[bytes]:
        """`count` bodies of one event. Everybody orders now and then, also where the customers go round and round."""
        for number in self._numbers(count):
            yield self.event(number, order=self._ordering and (number * 2_654_435_761 >> 8) % ORDERS == 0)

    def orders(self, count: int) -> Iterator[bytes]:
        """`count` bodies of one order."""
        for number in self._numbers(count):
            yield self.event(number, order=True)

    def batches(self, events: int) -> Iterator[bytes]:
        """Bodies of BATCH events, `events` in all (rounded up)."""
        for first in range(0, events, BATCH):
            parts = self.singles(min(BATCH, events - first))
            yield b'{"batch": [%b]}' % b", ".join(parts)

    def _numbers(self, count: int) -> range:
        numbers = range(self._next, self._next + count)
        self._next = numbers.stop
        return numbers
