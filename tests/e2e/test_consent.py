"""Consent as a customer, a marketer and a privacy officer see it: through the public API of the whole platform."""

import uuid
from datetime import timedelta

import httpx

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.tokens import customer_private_key_file
from libs.common.http.auth.tokens import mint_customer
from tests.e2e.test_loop import post
from tests.support import eventually


async def test_a_customer_decides_what_they_get(platform: Platform, api: Api) -> None:
    user, name = f"eve-{uuid.uuid4().hex[:8]}", f"Wish {uuid.uuid4().hex[:8]}"
    hook = await api.post("triggers", "/v1/hooks", {
        "name": name,
        "trigger": {"event": name, "when": "!('marketing.inbox' in customer.consent)"},
        "action": {"channel": "inbox", "purpose": "marketing", "text": "It is back"},
    })  # fmt: skip
    await api.post("triggers", f"/v1/hooks/{hook['id']}/publish")

    async def verdict(expected: str) -> str:
        """The sentence of `why`, once it is about the event sent last."""

        async def given() -> str | None:
            why = await api.get("triggers", f"/v1/hooks/{hook['id']}/why", customer=f"user:{user}")
            return str(why["sentence"]) if why["verdict"] == expected else None

        return str(await eventually(given))

    event: dict[str, object] = {"userId": user, "event": name}
    await post(platform, "track", event)
    assert "has not consented to marketing" in await verdict("withheld")

    own = mint_customer(
        customer_private_key_file(platform.home).read_text(), f"user:{user}", ["own:consent"], ttl=timedelta(minutes=5)
    )
    async with httpx.AsyncClient(base_url=platform.urls["profile"], timeout=60) as page:
        page.headers["authorization"] = f"Bearer {own}"
        path = f"/v1/customers/user:{user}/consents"
        said = {"status": "granted", "source": "preference page", "text_version": "2026-03"}
        assert (await page.put(f"{path}/marketing", json=said)).json()["consent"] == {"marketing": "granted"}
        await post(platform, "track", event)
        await verdict("sent")
        (shown,) = (await page.get(path)).json()["items"]
        assert (shown["status"], shown["proof"]["text_version"]) == ("granted", "2026-03")

    said_by_app = {"consent": {"categoryPreferences": {"marketing": False}}}
    await post(
        platform, "track", {"userId": user, "event": "Segment Consent Preference Updated", "context": said_by_app}
    )
    await post(platform, "track", event)
    assert "has denied marketing" in await verdict("withheld")
    timeline = await api.get("profile", f"/v1/customers/user:{user}/timeline")
    changes = [item["data"] for item in timeline["items"] if item["name"] == "Consent Changed"]
    assert [(change["status"], change["source"]) for change in changes] == [
        ("denied", "/apps/development"),
        ("granted", "preference page"),
    ]


async def test_double_opt_in_by_the_link_alone(platform: Platform) -> None:
    user = f"finn-{uuid.uuid4().hex[:8]}"
    await post(platform, "identify", {"userId": user, "traits": {"plan": "free"}})
    async with httpx.AsyncClient(base_url=platform.urls["profile"], timeout=60) as client:
        operator = {"authorization": f"Bearer {platform.tokens['operator']}"}
        path = f"/v1/customers/user:{user}"

        async def known() -> bool:
            return (await client.get(path, headers=operator)).status_code == 200

        await eventually(known)
        asked = await client.post(f"{path}/consents/newsletter/requests", json={"channel": "email"}, headers=operator)
        confirmed = await client.post("/v1/consents/confirm", json={"token": asked.json()["token"]})
        assert confirmed.json() == {"purpose": "newsletter", "channel": "email", "status": "granted"}
        assert (await client.get(path, headers=operator)).json()["consent"] == {"newsletter.email": "granted"}
