"""An export: one ZIP of JSON with what all five services have of a person, and nothing of anybody else."""

import io
import json
import uuid
import zipfile

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from tests.e2e.test_loop import PROGRAMME, post
from tests.support import eventually

HOOK = {
    "name": "Exported",
    "trigger": {"event": "Order Completed"},
    "action": {
        "channel": "inbox",
        "purpose": "service",
        "title": "Thanks",
        "text": "Thank you for {{ event.properties.order_id }}",
    },
}


async def export(platform: Platform, ref: str, role: str = "operator") -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"authorization": f"Bearer {platform.tokens[role]}"}
        return await client.post(f"{platform.urls['profile']}/v1/customers/{ref}/export", headers=headers)


async def test_an_export_has_what_all_services_know_of_a_person(platform: Platform, api: Api) -> None:
    programme = await api.post("rewards", "/v1/programmes", PROGRAMME)
    await api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
    hook = await api.post("triggers", "/v1/hooks", HOOK)
    await api.post("triggers", f"/v1/hooks/{hook['id']}/publish")
    mark = uuid.uuid4().hex[:12]
    ann, bob = f"ann-{mark}", f"bob-{mark}"
    for user in (ann, bob):
        await post(platform, "page", {"anonymousId": f"browser-{user}", "name": "Home"})
        traits = {"email": f"{user}@example.com"}
        await post(platform, "identify", {"anonymousId": f"browser-{user}", "userId": user, "traits": traits})
        order = {"order_id": f"order-{user}", "revenue": 20, "currency": "NZD"}
        await post(platform, "track", {"userId": user, "event": "Order Completed", "properties": order})
    async with httpx.AsyncClient(timeout=60) as client:
        dance = {"batch": [{"type": "dance", "userId": ann}]}
        auth = (platform.tokens["write_key"], "")
        await client.post(f"{platform.urls['ingest']}/v1/batch", json=dance, auth=auth)

    async def whole() -> dict[str, str]:
        """The export once all services have folded what was sent."""
        answer = await export(platform, f"user:{ann}")
        if answer.status_code == 404:
            return {}
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        files = {name: archive.read(name).decode() for name in archive.namelist()}
        there = {name for name, content in files.items() if content.strip() not in ("[]", "")}
        wanted = {
            "person.json", "ingest/events.json", "ingest/rejected.json", "profile/journal.ndjson", "profile/sections.json",
            "rewards/entries.json", "rewards/customers.json", "triggers/deliveries.json", "triggers/last_events.json",
            "metrics/purchase_days.json", "metrics/active_days.json",
        }  # fmt: skip
        return files if wanted <= there else {}

    files = await eventually(whole)
    person = json.loads(files["person.json"])
    assert person["identifiers"] == [f"anon:browser-{ann}", f"user:{ann}"]
    assert bob not in str(files)
    assert {
        each["data"]["anonymousId"] for each in json.loads(files["ingest/events.json"]) if "anonymousId" in each["data"]
    } == {f"browser-{ann}"}
    assert f"order-{ann}" in files["triggers/deliveries.json"]
    names = [json.loads(line)["type"] for line in files["profile/journal.ndjson"].splitlines()]
    assert {"page.v1", "identify.v1", "track.v1", "points.credited.v1"} <= set(names)


async def test_only_who_may_export_does(platform: Platform) -> None:
    assert (await export(platform, "user:nobody", "marketer")).status_code == 403
    assert (await export(platform, "user:nobody")).status_code == 404
