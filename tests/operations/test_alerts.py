"""Alerts and dashboard: they ask only for what there is, keep silent in health, and fire when they should."""

import asyncio
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.service import ROOT
from libs.common.fold.outage import REASONS
from tests.operations import promql
from tests.operations.broken import break_record
from tests.operations.exposition import TARGET, Exposed, scrape, story
from tests.operations.promql import Labels, Snapshot, evaluate, grouped_by, parse, selectors
from tests.support import eventually

RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
DASHBOARD = json.loads((ROOT / "deploy/grafana/rapport.json").read_text())
QUERIES = {
    **{name: rule["expr"] for name, rule in RULES.items()},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}
#: Metrics without a sample until something is wrong, or with Kafka only, and the labels that they then have.
RARE = {"rapport_log_pinned_segments": {"topic", "reader"}}
#: Values of labels that a healthy platform without Kafka does not show.
LATER = {"reader": {"forwarder"}, "cause": set(REASONS), "status": {"5xx"}}
HOUR = 3600.0


async def post(platform: Platform, *events: dict[str, object]) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        url, key = f"{platform.urls['ingest']}/v1/batch", platform.tokens["write_key"]
        answer = await client.post(
            url, json={"batch": [{"type": "track", **event} for event in events]}, auth=(key, "")
        )
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="package")
async def exposed(platform: Platform, api: Api) -> Exposed:
    """The real metrics after some traffic, everything read."""
    hook = await api.post("triggers", "/v1/hooks", {
        "name": f"Alerts {uuid.uuid4().hex[:8]}", "trigger": {"event": "Alerted"},
        "action": {"channel": "inbox", "purpose": "service", "title": "Hello", "text": "Hello"},
    })  # fmt: skip
    await api.post("triggers", f"/v1/hooks/{hook['id']}/publish")
    event: dict[str, object] = {
        "userId": f"alerted-{uuid.uuid4().hex[:8]}",
        "event": "Alerted",
        "messageId": uuid.uuid4().hex,
    }
    await post(platform, event, event, {"event": "Nobody's"})

    async def settled() -> Exposed | None:
        await asyncio.sleep(0.5)  # five expositions are read each time
        found = await scrape(platform)
        behind = [key for key, value in found.samples.items() if key[0] == "rapport_lag_records" and value]
        unready = [key for key, value in found.samples.items() if key[0] == "rapport_component_ready" and not value]
        wanted = ('rapport_deliveries_total{channel="inbox",outcome="sent"}', "rapport_duplicates_total")
        missing = [query for query in wanted if not selects(found, query)]
        unread = firing("RapportPartitionUnread", story((0.0, found)))
        waits[:] = [behind, unready, missing, unread]
        return None if any(waits) else found

    waits: list[Any] = []
    try:
        found = await eventually(settled, within=100)
    except AssertionError as error:
        raise AssertionError(f"behind, not ready, missing, unread: {waits}") from error
    assert found is not None
    return found


def selects(found: Exposed, query: str) -> bool:
    result = evaluate(parse(query), story((0.0, found)))
    return isinstance(result, dict) and any(result.values())


def firing(name: str, told: list[Snapshot]) -> dict[Labels, float]:
    """The alerts of a rule that are on, whatever its `for` says."""
    result = evaluate(parse(RULES[name]["expr"]), told)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("query", QUERIES)
async def test_every_query_asks_for_what_there_is(exposed: Exposed, query: str) -> None:
    tree = parse(QUERIES[query])
    known: dict[str, dict[str, set[str]]] = {}
    for name, pairs in exposed.samples:
        for label, value in pairs:
            known.setdefault(name, {}).setdefault(label, set()).add(value)
    read = list(selectors(tree))
    assert read
    for selector in read:
        assert selector.metric in exposed.names, selector.metric
        labels = known.get(selector.metric) or {label: set() for label in RARE[selector.metric]}
        for label, how, value in selector.matchers:
            assert label in labels, f"{selector.metric} has no label {label}"
            values = labels[label] | LATER.get(label, set())
            assert any(promql.matches(each, how, value) for each in values), f"{label} is never {value}"
    for by, inside in grouped_by(tree):
        for selector in selectors(inside):
            labels = known.get(selector.metric) or {label: set() for label in RARE[selector.metric]}
            assert set(by) <= {*labels, *TARGET}, f"{selector.metric} has no {set(by) - set(labels)}"


async def test_nothing_fires_in_health(exposed: Exposed) -> None:
    healthy = story((-25 * HOUR, exposed), (-60.0, exposed), (0.0, _grown(exposed)))
    assert {name: found for name in RULES if (found := firing(name, healthy))} == {}


def _grown(exposed: Exposed) -> Exposed:
    """A minute later: more events and requests, all well."""
    more = {
        key: value + 100
        if (key[0], dict(key[1]).get("outcome")) == ("rapport_ingest_events_total", "ok")
        or (key[0] == "rapport_http_requests_total" and dict(key[1])["status"] == "2xx")
        else value
        for key, value in exposed.samples.items()
    }
    return Exposed(more, exposed.names)


def _changed(exposed: Exposed, metric: str, value: float, **labels: str) -> Exposed:
    """With the samples of `metric` that have `labels` set to `value`; one is made when there is none."""
    wanted = frozenset(labels.items())
    changed = {key: value if key[0] == metric and wanted <= key[1] else old for key, old in exposed.samples.items()}
    if not any(key[0] == metric and wanted <= key[1] for key in changed):
        changed[metric, wanted] = value
    return Exposed(changed, exposed.names)


#: What makes each alert fire: a metric, some labels, its value before and now. One that is missing here fails a test.
_SICK: Mapping[str, tuple[str, dict[str, str], float, float]] = {
    "RapportServiceDown": ("up", {"service": "rewards"}, 1, 0),
    "RapportNotReady": ("rapport_component_ready", {"service": "rewards", "component": "fold"}, 1, 0),
    "RapportClockSkew": ("rapport_clock_skew_seconds", {"service": "profile"}, 0, -3),
    "RapportErrors": ("rapport_http_requests_total", {"service": "rewards", "status": "5xx"}, 0, 50),
    "RapportIngestShedding": ("rapport_ingest_shed_total", {"cause": "timeout"}, 0, 5),
    "RapportIngestRejecting": ("rapport_ingest_events_total", {"outcome": "rejected"}, 1, 101),
    "RapportLagging": ("rapport_lag_seconds", {"service": "rewards", "partition": "3"}, 0, 31),
    "RapportLaggingFar": ("rapport_lag_seconds", {"service": "rewards", "partition": "3"}, 0, 901),
    "RapportPartitionUnread": ("rapport_partitions_owned", {"service": "rewards"}, 8, 7),
    "RapportPartitionStopped": ("rapport_partition_stopped", {"service": "rewards", "partition": "3"}, 0, 1),
    "RapportGap": ("rapport_gap_records", {"service": "rewards", "partition": "3"}, 0, 10),
    "RapportForwarderStuck": ("rapport_lag_seconds", {"reader": "forwarder", "topic": "rewards.facts"}, 0, 61),
    "RapportPausing": ("rapport_unavailable_total", {"service": "rewards", "cause": "timeout"}, 0, 10),
    "RapportLogPinned": ("rapport_log_pinned_segments", {"topic": "profile.journal", "reader": "metrics/fold"}, 0, 1),
    "RapportDeadLetters": ("rapport_dead_letters_total", {"service": "rewards"}, 0, 1),
    "RapportDeadLettersWaiting": ("rapport_dead_letters_waiting", {"service": "rewards"}, 0, 1),
    "RapportRulesInCircles": ("rapport_suppressed_records_total", {"service": "triggers"}, 0, 1),
    "RapportDiskFull": ("rapport_ingest_shed_total", {"cause": "disk_full"}, 0, 1),
    "RapportConnectionsExhausted": ("rapport_unavailable_total", {"cause": "too_many_connections"}, 0, 1),
    "RapportPoolExhausted": ("rapport_pool_connections", {"service": "rewards", "state": "open"}, 2, 99),
    "RapportDeliveriesLate": ("rapport_delivery_late_seconds", {"channel": "webhook"}, 0, 121),
    "RapportDeliveriesFailing": ("rapport_deliveries_total", {"channel": "webhook", "outcome": "again"}, 0, 9),
    "RapportMessagesGivenUp": ("rapport_deliveries_total", {"channel": "webhook", "outcome": "failed"}, 0, 1),
}
#: Those that look at how a metric moves over more than two scrapes, or at a histogram: tested one by one below.
_OWN_TEST = {"RapportRestarting", "RapportNoEvents", "RapportIngestSlow"}


@pytest.mark.parametrize("name", sorted(RULES.keys() - _OWN_TEST))
async def test_each_fires_when_it_should(exposed: Exposed, name: str) -> None:
    metric, labels, before, now = _SICK[name]
    well = _changed(exposed, metric, before, **labels)
    sick = _changed(_grown(well), metric, now, **labels)
    assert not firing(name, story((-60.0, well), (0.0, _changed(_grown(well), metric, before, **labels))))
    fired = firing(name, story((-60.0, well), (0.0, sick)))
    assert fired
    told = re.findall(r"\$labels\.(\w+)", RULES[name]["annotations"]["summary"])
    assert all(set(told) <= {label for label, _ in alert} for alert in fired if alert)


async def test_each_moving_one_fires_when_it_should(exposed: Exposed) -> None:
    starts = "process_start_time_seconds"
    often = story(*((60.0 * turn, _changed(exposed, starts, turn, service="rewards")) for turn in range(6)))
    assert [dict(labels)["service"] for labels in firing("RapportRestarting", often)] == ["rewards"]
    assert not firing("RapportRestarting", often[:3])
    quiet = story((-23 * HOUR, exposed), (-0.4 * HOUR, _grown(exposed)), (0.0, _grown(exposed)))
    assert firing("RapportNoEvents", quiet)
    assert not firing("RapportNoEvents", story((-23 * HOUR, exposed), (-0.4 * HOUR, exposed), (0.0, _grown(exposed))))
    slow = {
        key: value + (100 if dict(key[1]).get("le") in ("5.0", "10.0", "+Inf") else 0)
        for key, value in exposed.samples.items()
    }
    assert firing("RapportIngestSlow", story((-60.0, exposed), (0.0, Exposed(slow, exposed.names))))


async def test_a_real_dead_letter_raises_its_alert(platform: Platform, exposed: Exposed) -> None:
    before = await scrape(platform)
    await break_record(platform)

    async def raised() -> list[str]:
        told = story((-60.0, before), (0.0, await scrape(platform)))
        names = ("RapportDeadLetters", "RapportDeadLettersWaiting")
        fired = [dict(labels)["service"] for name in names for labels in firing(name, told)]
        return fired if len(fired) == len(names) else []

    assert await eventually(raised) == ["profile", "profile"]
    async with httpx.AsyncClient(timeout=60) as client:
        people = (await client.get(f"{platform.urls['profile']}/readyz?verbose")).text
    assert "dead letter" in people


def test_every_alert_has_what_a_person_needs() -> None:
    for name, rule in RULES.items():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}", name
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0m")), name


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    assert sorted(re.findall(r"^### (Rapport\w+)$", text, re.MULTILINE)) == sorted(RULES)


def test_prometheus_finds_the_services_and_the_rules() -> None:
    said = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert [(ROOT / "deploy/prometheus" / name).is_file() for name in said["rule_files"]] == [True]
    (job,) = said["scrape_configs"]
    containers = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    targets = {each["labels"]["service"]: each["targets"] for each in job["static_configs"]}
    assert targets == {
        name: [f"{name}:{containers[name]['environment']['RAPPORT_PORT']}"]
        for name in ("ingest", "profile", "rewards", "triggers", "metrics")
    }


def test_the_dashboard_shows_each_panel_once_and_within_its_row() -> None:
    panels = DASHBOARD["panels"]
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels]
    assert len(set(places)) == len({each["id"] for each in panels}) == len(panels)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
    assert {each["datasource"]["uid"] for each in panels} == {"${source}"}
