"""Pages of the origins that are let in may read inboxes, with a customer's token; pages of others may not."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from libs.common.http.auth.tokens import mint_customer
from services.triggers.settings import Settings
from tests.conftest import CUSTOMER_KEYS
from tests.integration.triggers.service import ANN, known_as, order, serving

SHOP, OTHER = "https://shop.example", "https://elsewhere.example"
ASKED = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}


async def test_pages_of_the_shop_read_an_inbox_and_others_do_not(triggers_settings: Settings) -> None:
    path = "/v1/customers/user:ann/inbox"
    async with serving(triggers_settings.model_copy(update={"browser_origins": (SHOP,)})) as triggers:
        await triggers.hook()
        await triggers.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")))
        ann = mint_customer(CUSTOMER_KEYS[0], "user:ann", ["own:inbox"], ttl=timedelta(minutes=5))
        for origin, lets_in in ((SHOP, True), (OTHER, False), ("https://shop.example.evil.example", False)):
            asked = await triggers.client.options(path, headers={"origin": origin, **ASKED})
            assert asked.is_success == lets_in
            for token, status in ((ann, 200), ("nonsense", 401)):
                headers = {"origin": origin, "authorization": f"Bearer {token}"}
                answer = await triggers.client.get(path, headers=headers)
                assert answer.status_code == status
                assert answer.headers.get("access-control-allow-origin") == (SHOP if lets_in else None)
                assert "access-control-allow-credentials" not in answer.headers
        headers = {"origin": SHOP, "authorization": f"Bearer {ann}"}
        ticket = (await triggers.client.post(f"{path}/stream/tickets", headers=headers)).json()["ticket"]
        del triggers.client.headers["authorization"]
        url = f"{path}/stream?ticket={ticket}"
        async with triggers.client.stream("GET", url, headers={"origin": SHOP}) as stream:
            assert stream.status_code == 200
            assert stream.headers["access-control-allow-origin"] == SHOP


async def test_without_the_setting_no_page_is_let_in(triggers_settings: Settings) -> None:
    async with serving(triggers_settings) as triggers:
        answer = await triggers.client.get("/readyz", headers={"origin": SHOP})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("given", ["*", "shop.example", "https://shop.example/", "https://Shop.example"])
def test_what_is_no_origin_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_BROWSER_ORIGINS", f"{SHOP}, {given}")
    with pytest.raises(ValidationError, match="an origin is scheme and host"):
        Settings()


def test_origins_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_BROWSER_ORIGINS", f"{SHOP}, http://127.0.0.1:3000")
    assert Settings().browser_origins == (SHOP, "http://127.0.0.1:3000")
