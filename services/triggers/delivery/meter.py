"""The metrics of delivery."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from libs.common.db.pool import Tx

CHANNELS = ("inbox", "webhook")
#: Waiting messages are counted up to this number.
MOST = 10_000
_WAITING = """
SELECT endpoint = 'inbox' AS inbox, count(*) AS messages,
       greatest(0, extract(epoch FROM clock_timestamp() - min(next_at)))::float8 AS late
FROM (SELECT endpoint, next_at FROM triggers.deliveries WHERE state = 'queued' LIMIT $1) AS queued GROUP BY 1
"""


class DeliveryMeter:
    """Counts attempts by how they ended, and measures what waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "rapport_deliveries",
            "Attempts to deliver a message, by how they ended: sent, again (it will be tried again), failed, withheld.",
            ["channel", "outcome"],
            registry=registry,
        )
        self._waiting = Gauge(
            "rapport_deliveries_waiting", f"Queued messages (at most {MOST:,}).", ["channel"], registry=registry
        )
        self._late = Gauge(
            "rapport_delivery_late_seconds",
            "How long the most overdue message has been due without an attempt.",
            ["channel"],
            registry=registry,
        )
        for channel in CHANNELS:
            for outcome in ("sent", "again", "failed", "withheld"):  # so that the first one is an increase
                self._ended.labels(channel, outcome)

    def ended(self, channel: str, outcome: str, messages: int = 1) -> None:
        """Attempts have ended, and their outcome is committed."""
        self._ended.labels(channel, outcome).inc(messages)

    async def measure(self, tx: Tx) -> int:
        """Measure the waiting messages. Returns their number."""
        found = {"inbox" if row["inbox"] else "webhook": row for row in await tx.fetch(_WAITING, MOST)}
        for channel in CHANNELS:
            row = found.get(channel)
            self._waiting.labels(channel).set(row["messages"] if row else 0)
            self._late.labels(channel).set(row["late"] if row else 0)
        return sum(row["messages"] for row in found.values())
