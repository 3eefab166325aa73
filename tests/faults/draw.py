"""Which faults a run meets: drawn by its seed."""

import random
from collections import Counter
from collections.abc import Callable

from libs.common.contracts.registry import SERVICES
from tests.faults.faults import Clock, Fault, Freeze, Kill, KillAt, Worker
from tests.faults.outages import Broker, FullDisk, Hang, IdleTransaction, Server, Storm
from tests.faults.stage import FOLDS

#: Longer than a service's PostgreSQL sessions may idle (3 s), wait for a lock or stay in a transaction (5 s).
PAST_EVERY_LOCK = 6.5
FOLD_POINTS = ("fold.fenced", "fold.decided", "fold.written", "fold.committed")
INGEST_POINTS = ("ingest.append", "ingest.appended")
ROWS = (
    "log.heads WHERE topic = 'profile.journal' AND partition < 4",
    "log.heads WHERE topic = 'rewards.facts'",
    "log.heads WHERE topic = 'ingest.events' AND partition IN (1, 5)",
    "rewards.customers",
    "profile.customers",
    "triggers.positions WHERE partition < 6",
    "metrics.positions",
)


def _kill_at(chance: random.Random) -> Fault:
    service = chance.choice(SERVICES)
    points = INGEST_POINTS if service == "ingest" else FOLD_POINTS
    return KillAt(service, chance.choice(points), chance.randint(1, 7))


#: How each kind is drawn, and how often against the others. The slow ones are rare.
KINDS: tuple[tuple[float, tuple[str, ...], Callable[[random.Random], Fault]], ...] = (
    (4, ("postgres", "kafka"), lambda chance: Kill(chance.choice(SERVICES))),
    (6, ("postgres", "kafka"), _kill_at),
    (1, ("postgres", "kafka"), lambda chance: KillAt("triggers", "delivery.sent", chance.randint(1, 3))),
    (2, ("kafka",), lambda chance: KillAt(chance.choice(FOLDS), "forwarder.sent", chance.randint(1, 6))),
    (1, ("postgres", "kafka"), lambda chance: Freeze(chance.choice(SERVICES), chance.uniform(3.5, PAST_EVERY_LOCK))),
    (1, ("postgres", "kafka"), lambda chance: Freeze(chance.choice(FOLDS), PAST_EVERY_LOCK, replaced=True)),
    (1, ("kafka",), lambda chance: Freeze("kafka", chance.uniform(1, 12))),
    (2, ("postgres", "kafka"), lambda chance: Worker(chance.choice(FOLDS), chance.uniform(2, 5), chance.choice(("stop", "kill")))),
    (3, ("postgres", "kafka"), lambda chance: Server(chance.choice(("fast", "immediate", "kill")))),
    (1, ("postgres", "kafka"), lambda chance: Hang(chance.uniform(1, 12))),
    (2, ("postgres", "kafka"), lambda chance: Storm(chance.randint(1, 8))),
    (2, ("postgres", "kafka"), lambda chance: IdleTransaction(chance.choice(ROWS), chance.uniform(1, 7))),
    (2, ("kafka",), lambda chance: Broker(chance.uniform(0.2, 4))),
    (0.3, ("kafka",), lambda chance: Broker(35.0)),
    (1.5, ("postgres", "kafka"), lambda chance: FullDisk(chance.uniform(1, 5), chance.random() < 0.3)),
    (2, ("postgres", "kafka"), lambda chance: Clock(chance.choice(SERVICES), chance.choice((-1, 1)), chance.uniform(1, 4))),
)  # fmt: skip


def pick(chance: random.Random, log: str, disk: bool) -> list[tuple[float, Fault]]:
    """One to three faults, each with the second of the run at which it strikes; a full disk is left out without `disk`.

    A service is killed twice at most: the third death on one record is the record's fault, and it would be buried.
    """
    kinds = [(weight, draw) for weight, logs, draw in KINDS if log in logs]
    count = chance.choice((1, 1, 2, 2, 3))
    deaths: Counter[str] = Counter()
    picked: list[tuple[float, Fault]] = []
    while len(picked) < count:
        (draw,) = chance.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])
        fault, at = draw(chance), chance.uniform(0.0, 2.0)
        if deaths[fault.victim] + fault.deaths <= 2:
            deaths[fault.victim] += fault.deaths
            picked.append((at, fault))
    possible = (each for each in picked if disk or not isinstance(each[1], FullDisk))
    return sorted(possible, key=lambda each: each[0])
