"""What the platform says of a run: over REST as anybody would ask, and out of the tables as nobody should have to."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg

from tests.faults import kafka_copy
from tests.faults.answers import Answer, Whole
from tests.faults.shop import DECIMALS
from tests.faults.stage import FOLDS, Stage
from tests.faults.workload import Person, Workload

FACTS = ("rewards.facts", "triggers.facts", "metrics.facts")
FORWARDED = ("profile.journal", *FACTS)
Connection: TypeAlias = "asyncpg.Connection[Any]"


@dataclass(frozen=True)
class Before:
    """Where everything stood when the run began."""

    totals: dict[str, int]
    heads: dict[tuple[str, int], int]
    received: int
    copies: dict[tuple[str, int], int]


async def before(stage: Stage) -> Before:
    connection = await stage.database()
    try:
        rows = await connection.fetch("SELECT topic, partition, next FROM log.heads")
    finally:
        await connection.close()
    heads = {(row[0], row[1]): row[2] for row in rows}
    forwarded = [place for place in heads if place[0] in FORWARDED]
    broker = stage.platform.kafka
    copies = await kafka_copy.ends(broker.bootstrap, forwarded) if broker else {}
    return Before(await _totals(stage), heads, len(stage.receiver.came), copies)


async def observed(stage: Stage, workload: Workload, start: Before, dead: frozenset[tuple[str, str]]) -> Whole:
    """All of it, with the platform at rest. `dead` is what was found among the dead letters before it was replayed."""
    found = Whole([], dead=dead)
    places = await asyncio.gather(*(_resolved(stage, person, found.wrong) for person in workload.people))
    connection = await stage.database()
    try:
        for person, customer in zip(workload.people, places, strict=True):
            found.people.append(await _person(stage, connection, person, customer))
        await _log(connection, start, workload, found)
        if broker := stage.platform.kafka:
            found.wrong += await _copies(connection, start, broker.bootstrap)
        everybody = [id for place in places if place for id in (place["id"], *place["merged_from"])]
        found.wrong += await _badge_messages(connection, stage, everybody)
        for service in FOLDS:
            waiting = await connection.fetchval(f"SELECT count(*) FROM {service}.dead_letters WHERE outcome IS NULL")
            found.wrong += [f"{waiting} dead letters wait at {service}"] if waiting else []
    finally:
        await connection.close()
    now = await _totals(stage)
    found.totals = {name: moved for name in now if (moved := now[name] - start.totals.get(name, 0))}
    check = (await stage.get("rewards", "/v1/ledger/check", "operator")).json()
    if not check["balanced"] or sum(check["entries"].values()) or sum(check["totals"].values()):
        found.wrong.append(f"the ledger does not balance: {check}")
    _webhooks(stage, start, found)
    return found


async def dead_letters(stage: Stage) -> list[tuple[str, str, str]]:
    """(service, its id, the record's messageId) of each that waits."""
    connection = await stage.database()
    try:
        found = []
        for service in FOLDS:
            for row in await connection.fetch(f"SELECT id, value FROM {service}.dead_letters WHERE outcome IS NULL"):
                found.append((service, str(row["id"]), str(json.loads(row["value"])["data"].get("messageId"))))
        return found
    finally:
        await connection.close()


async def _resolved(stage: Stage, person: Person, wrong: list[str]) -> dict[str, Any]:
    """The customer that all of a person's identifiers lead to, in profile and in the others."""
    answers = [await stage.get("profile", f"/v1/customers/{ref}") for ref in person.refs]
    customers = [answer.json() for answer in answers if answer.status_code == 200]
    ids = {customer["id"] for customer in customers}
    if len(customers) != len(person.refs) or len(ids) != 1:
        wrong.append(f"person {person.number}: {person.refs} lead to {sorted(ids)}, {len(customers)} of them")
        return {}
    for service, path in (("rewards", "points"), ("triggers", "inbox")):
        for ref in (*person.refs, *customers[0]["merged_from"]):
            answer = await stage.get(service, f"/v1/customers/{ref}/{path}")
            led = answer.json().get("customer", customers[0]["id"]) if answer.status_code == 200 else None
            if answer.status_code not in (200, 404) or (led and led != customers[0]["id"]):
                wrong.append(f"person {person.number}: {service} answers {answer.status_code} {led} for {ref}")
    return dict(customers[0])


async def _person(stage: Stage, tx: Connection, person: Person, customer: dict[str, Any]) -> Answer:
    if not customer:
        return Answer()
    id = customer["id"]
    answer = Answer(
        refs=frozenset(customer["refs"]),
        user=customer["user_id"],
        orders=customer["orders"],
        revenue={currency: Decimal(amount) for currency, amount in customer["revenue"].items()},
        traits=customer["traits"],
        segments=frozenset(customer["segments"]),
        reviews=customer["computed_traits"].get("reviews", 0),
        points=customer["standing"]["points"],
    )
    points, level, badges = await asyncio.gather(
        *(stage.get("rewards", f"/v1/customers/{person.refs[-1]}/{what}") for what in ("points", "level", "badges"))
    )
    if points.status_code == 200:
        answer.balance, answer.qualifying = points.json()["balance"], points.json()["qualifying"]
        answer.level = (level.json()["level"] or {}).get("id")
        answer.badges = {each["badge"]: each["earned"] for each in badges.json()["items"] if each["earned"]}
    booked: Counter[tuple[str | None, str]] = Counter()
    for row in await tx.fetch(
        "SELECT kind, order_id, rule, points FROM rewards.entries WHERE customer = $1 AND account = 'customer:available'",
        id,
    ):
        if row["kind"] == "adjusted":
            answer.adjusted += row["points"]
        else:
            booked[row["order_id"], row["rule"]] += row["points"]
    answer.booked = {place: count for place, count in booked.items() if count}
    answer.webhooks, answer.inbox = await _messages(tx, id, stage.hooks)
    answer.days = {
        (row[0].isoformat(), row[1]): (row[2], row[3], row[4])
        for row in await tx.fetch(
            "SELECT day, currency, orders, net_minor, refunded_minor FROM metrics.purchase_days WHERE customer = $1", id
        )
    }
    active = await tx.fetch("SELECT day FROM metrics.active_days WHERE customer = $1", id)
    answer.active = frozenset(row[0].isoformat() for row in active)
    return answer


async def _messages(tx: Connection, customer: str, hooks: dict[str, str]) -> tuple[Counter[str], Counter[str]]:
    """What was sent, by the text; a message in any other state shows as one."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    rows = await tx.fetch(
        "SELECT hook::text, state, reason, text FROM triggers.deliveries WHERE customer = $1", customer
    )
    for row in rows:
        text = row["text"] if row["state"] == "sent" else f"{row['state']} ({row['reason']}): {row['text']}"
        found[row["hook"]][text] += 1
    return found[hooks["webhook"]], found[hooks["inbox"]]


async def _badge_messages(tx: Connection, stage: Stage, customers: Sequence[str]) -> list[str]:
    """Each badge that was earned (and perhaps lost again) is told of once."""
    earned = await tx.fetchval(
        """SELECT count(*) FROM log."rewards.facts" WHERE position('"type":"badge.earned.v1"'::bytea IN value) > 0
        AND key = ANY ($1::text[])""",
        customers,
    )
    told = await tx.fetchval(
        "SELECT count(*) FROM triggers.deliveries WHERE hook::text = $2 AND state = 'sent' AND customer = ANY($1::uuid[])",
        customers,
        stage.hooks["badge"],
    )
    return [] if earned == told else [f"{earned} badges were earned and {told} told of"]


async def _log(tx: Connection, start: Before, workload: Workload, found: Whole) -> None:
    """Every event once in the journal, every fact in it once, a `merged` for each `left`."""
    known = {said.message for said in workload.events.values()}
    journal = await _since(tx, "profile.journal", start, found.wrong)
    ids = Counter(record["id"] for record in journal)
    found.wrong += [f"the record {id} is {count} times in the journal" for id, count in ids.items() if count > 1]
    for record in journal:
        message = record["data"].get("messageId")
        if record["source"].startswith("/apps/") and message in known:
            found.journalled[message, record["data"].get("event") or record["data"]["type"]] += 1
    left = Counter(r["data"]["customer"]["id"] for r in journal if r["type"] == "customer.left.v1")
    merged = Counter(r["data"]["other"] for r in journal if r["type"] == "customer.merged.v1")
    found.wrong += [] if left == merged else [f"left {left - merged}, merged {merged - left}"]
    gone = set()
    for record in journal:
        if record["key"] in gone:
            found.wrong.append(f"{record['type']} {record['id']} comes on the key of {record['key']}, who had left")
        if record["type"] == "customer.left.v1":
            gone.add(record["key"])
    for topic in FACTS:
        decided = {record["id"] for record in await _since(tx, topic, start, found.wrong)}
        news = {record["id"] for record in journal if record["source"] == f"/{topic.partition('.')[0]}"}
        if decided != news:
            found.wrong.append(
                f"{topic}: {len(decided - news)} facts are not in the journal, {len(news - decided)} only there"
            )


async def _since(tx: Connection, topic: str, start: Before, wrong: list[str]) -> list[dict[str, Any]]:
    """The records of a topic that the run has brought, each with its key; of each partition in their order."""
    rows = await tx.fetch(f'SELECT partition, "offset", key, value FROM log."{topic}" ORDER BY 1, 2')
    heads = await tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", topic)
    new = [row for row in rows if row["offset"] >= start.heads.get((topic, row["partition"]), 0)]
    given = sum(head["next"] - start.heads.get((topic, head["partition"]), 0) for head in heads)
    if given != len(new):
        wrong.append(f"{topic}: {given} offsets were given out, and {len(new)} records are there")
    return [{**json.loads(row["value"]), "key": row["key"]} for row in new]


async def _copies(tx: Connection, start: Before, bootstrap: str) -> list[str]:
    """Whether Kafka has exactly what PostgreSQL has."""
    rows = set()
    for topic in FORWARDED:
        for row in await tx.fetch(f'SELECT partition, "offset" FROM log."{topic}"'):
            if row[1] >= start.heads.get((topic, row[0]), 0):
                rows.add((topic, row[0], row[1]))
    there = await kafka_copy.copied(bootstrap, start.copies)
    lost, strange = rows - there, {each for each in there - rows if each[2] >= start.heads.get(each[:2], 0)}
    return [f"Kafka lacks {sorted(lost)[:5]} and has {sorted(strange)[:5]} alone"] if lost or strange else []


def _webhooks(stage: Stage, start: Before, found: Whole) -> None:
    """What the receiver got: for each event one id; how many copies of one id there may be is the run's to judge."""
    ids: dict[str, set[str]] = defaultdict(set)
    for headers, body in stage.receiver.came[start.received :]:
        ids[json.loads(body)["data"]["text"]].add(headers["webhook-id"])
    found.ids = Counter({marker: len(given) for marker, given in ids.items()})


async def _totals(stage: Stage) -> dict[str, int]:
    """The services' own sums over everything."""
    profile = (await stage.get("profile", "/v1/customers/summary")).json()
    rewards = (await stage.get("rewards", "/v1/rewards/summary")).json()
    metrics = (await stage.get("metrics", "/v1/metrics/summary")).json()
    return {
        **{name: profile[name] for name in ("customers", "identified", "events")},
        "orders": metrics["orders"],
        "buyers": metrics["customers_with_orders"],
        "balance": rewards["balance"],
        "adjusted": rewards["points_adjusted"],
        **{f"badge {id}": count for id, count in rewards["badges"].items()},
        **{f"level {id}": count for id, count in rewards["levels"].items()},
        **{f"revenue {code}": _minor(amount, code) for code, amount in metrics["revenue"].items()},
        **{f"refunded {code}": _minor(amount, code) for code, amount in metrics["refunded"].items()},
    }


def _minor(amount: str, currency: str) -> int:
    return int(Decimal(amount).scaleb(DECIMALS[currency]))
