"""One trace from the POST to the message, as a collector sees it that all five processes send their spans to."""

import uuid

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from tests.integration.triggers.receiver import Receiver
from tests.operations.collector import Collector, Seen
from tests.support import eventually


async def post(platform: Platform, event: dict[str, object], **headers: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        url, key = f"{platform.urls['ingest']}/v1/track", platform.tokens["write_key"]
        answer = await client.post(url, json=event, auth=(key, ""), headers=headers)
    assert answer.status_code == 200, answer.text


async def published(api: Api, *hooks: dict[str, object]) -> None:
    for hook in hooks:
        made = await api.post("triggers", "/v1/hooks", hook)
        await api.post("triggers", f"/v1/hooks/{made['id']}/publish")


def path(spans: list[Seen], last: Seen) -> list[str]:
    """The names from the root down to `last`."""
    by_id = {span.span: span for span in spans}
    names = [last.name]
    while above := by_id.get(last.parent):
        names.insert(0, above.name)
        last = above
    return names


async def test_one_trace_from_the_post_to_the_message(
    platform: Platform, api: Api, collector: Collector, receiver: Receiver
) -> None:
    event = f"Traced {uuid.uuid4().hex[:8]}"
    programme = await api.post("rewards", "/v1/programmes", {
        "name": event, "earning": [{"id": "a-point", "on": event, "earn": {"points": 1}}], "levels": [], "badges": [],
    })  # fmt: skip
    await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
    inbox = {"channel": "inbox", "purpose": "service", "title": "Thanks", "text": "Thank you"}
    webhook = {"channel": "webhook", "purpose": "service", "url": receiver.url, "text": "Thank you"}
    await published(
        api,
        {"name": f"{event} in", "trigger": {"event": event}, "action": inbox},
        {"name": f"{event} out", "trigger": {"event": "Points Credited"}, "action": webhook},
    )
    trace, caller, user = uuid.uuid4().hex, uuid.uuid4().hex[:16], f"traced-{uuid.uuid4().hex[:8]}"
    await post(platform, {"userId": user, "event": event}, traceparent=f"00-{trace}-{caller}-01")

    wanted = {
        "deliver to inbox": ["POST /v1/track", "profile track.v1", "triggers track.v1", "deliver to inbox"],
        "deliver to webhook": [
            "POST /v1/track", "profile track.v1", "rewards track.v1", "profile points.credited.v1",
            "triggers points.credited.v1", "deliver to webhook",
        ],
    }  # fmt: skip

    async def both_paths() -> list[Seen]:
        spans = collector.of(trace)
        found = {span.name: path(spans, span) for span in spans if span.name in wanted}
        news = {"profile message.sent.v1", "metrics track.v1", "metrics message.sent.v1"}
        known = {caller} | {span.span for span in spans}
        whole = found == wanted and news <= {s.name for s in spans} and all(s.parent in known for s in spans)
        return spans if whole else []

    spans = await eventually(both_paths)
    (root,) = [span for span in spans if span.parent == caller]
    assert (root.service, root.name) == ("rapport-ingest", "POST /v1/track")
    by_id = {span.span: span for span in spans}
    assert all(by_id[span.parent].began <= span.began <= span.ended for span in spans if span is not root)
    (sent,) = [span for span in spans if span.name == "deliver to webhook"]
    assert f"00-{trace}-{sent.span}-01" in [headers.get("traceparent") for headers, _ in receiver.came]


async def test_what_nobody_asked_to_trace_is_not_traced(platform: Platform, collector: Collector, api: Api) -> None:
    trace, user = uuid.uuid4().hex, f"untraced-{uuid.uuid4().hex[:8]}"
    await post(platform, {"userId": user, "event": "Quiet"}, traceparent=f"00-{trace}-{uuid.uuid4().hex[:16]}-00")
    other = uuid.uuid4().hex
    await post(platform, {"userId": user, "event": "Loud"}, traceparent=f"00-{other}-{uuid.uuid4().hex[:16]}-01")

    async def heard() -> bool:
        names = {span.name for span in collector.of(other)}
        return {"POST /v1/track", "profile track.v1"} <= names

    await eventually(heard)
    assert collector.of(trace) == []


async def test_a_command_is_traced_from_its_request_on(platform: Platform, api: Api, collector: Collector) -> None:
    user, trace = f"adjusted-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    await post(platform, {"userId": user, "event": "Seen"})

    async def adjusted() -> bool:
        headers = {
            "authorization": f"Bearer {platform.tokens['marketer']}",
            "idempotency-key": f"key-{user}",
            "traceparent": f"00-{trace}-{uuid.uuid4().hex[:16]}-01",
        }
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{platform.urls['rewards']}/v1/customers/user:{user}/adjustments"
            answer = await client.post(url, json={"points": 5, "reason": "Traced"}, headers=headers)
        return answer.status_code < 300

    await eventually(adjusted)

    # Each process sends its spans when its own batch of them is due: the last span of a path may come before the first.
    async def traced() -> bool:
        spans = collector.of(trace)
        return [
            "POST /v1/customers/{ref}/adjustments", "rewards Adjust", "profile points.adjusted.v1",
            "triggers points.adjusted.v1",
        ] in [path(spans, span) for span in spans if span.name == "triggers points.adjusted.v1"]  # fmt: skip

    await eventually(traced)
