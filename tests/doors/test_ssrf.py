"""Webhooks reach public addresses and nothing inside, whatever a hook's url, its host's DNS or its receiver says.

127.0.0.2 plays the public internet, for it is allowed; 127.0.0.1, at the same port, is what must never be reached.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import ip_network
from itertools import cycle
from typing import Any

import pytest

from libs.common.settings import Settings
from services.triggers.app import create
from services.triggers.delivery.addresses import Lookup, system
from services.triggers.settings import Settings as TriggersSettings
from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import ANN, Triggers, order
from tests.support import eventually

PUBLIC, INSIDE = "127.0.0.2", "127.0.0.1"
UNSAFE = """127.0.0.1 0.0.0.0 10.0.0.1 172.16.0.1 192.168.0.1 100.100.100.200 169.254.169.254 168.63.129.16 224.0.0.1
    ::1 :: fe80::1 fd00:ec2::254 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:53aa:64c:0:0:80ff:fffe
    2606:4700::5efe:7f00:1""".split()


class Names:
    """A resolver under the test's control: each host has its answers, one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: Counter[str] = Counter()

    def lead(self, host: str, *answers: Sequence[str]) -> str:
        self.answers[host] = list(answers)
        return host

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked[host] += 1
        answers = self.answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """What is inside: whoever reaches it has got too far."""
    with Receiver() as receiver:
        yield receiver
        assert not receiver.came


@pytest.fixture
async def triggers(settings: Settings, names: Names) -> AsyncIterator[Triggers]:
    own = TriggersSettings(**settings.model_dump(), webhook_allow=(ip_network(f"{PUBLIC}/32"),), webhook_seconds=5)
    async with serving(own, names) as service:
        yield service


def serving(settings: TriggersSettings, names: Lookup) -> AbstractAsyncContextManager[Triggers]:
    return Triggers.serving(create(settings, names), settings)


def hook(url: str, name: str) -> dict[str, Any]:
    action = {"channel": "webhook", "purpose": "service", "text": "Thank you.", "url": url}
    return {"name": name, "trigger": {"event": "Order Completed"}, "action": action}


async def published(triggers: Triggers, url: str, name: str = "Tell the shop") -> str:
    made = await triggers.post("hooks", hook(url, name), 201)
    await triggers.post(f"hooks/{made['id']}/publish")
    return str(made["id"])


async def test_hosts_that_lead_inside_are_refused(triggers: Triggers, names: Names, inside: Receiver) -> None:
    hosts = [names.lead(f"host-{place}.example", [address]) for place, address in enumerate(UNSAFE)]
    hosts.append(names.lead("both.example", [PUBLIC, INSIDE]))
    hooks = [await published(triggers, f"http://{host}:{inside.port}/", host) for host in hosts]
    await triggers.append(order(ANN, "1"))
    for each in hooks:
        answer = await triggers.expect(each, "failed")
        assert "not a public address" in answer["sentence"]
    assert set(names.asked.values()) == {1}  # it is never tried again


async def test_a_host_that_changes_its_mind_is_asked_once_an_attempt(
    triggers: Triggers, names: Names, inside: Receiver
) -> None:
    """Rebinding: the first answer is public, and checked; whoever asked again to connect would be led inside."""
    with Receiver(500, host=PUBLIC, port=inside.port) as public:
        host = names.lead("shop.example", [PUBLIC], [PUBLIC], [INSIDE])
        made = await published(triggers, f"http://{host}:{public.port}/hooks")
        await triggers.append(order(ANN, "1"))
        for attempt in (1, 2):
            await eventually(partial(_tried, triggers, made, attempt))
            assert (len(public.came), names.asked[host]) == (attempt, attempt)
            assert public.came[-1][0]["host"] == f"{host}:{public.port}"
            await triggers.due_now()
        answer = await triggers.expect(made, "failed")
        assert f"{host} resolves to {INSIDE}" in answer["sentence"]
        assert (len(public.came), names.asked[host]) == (2, 3)


async def _tried(triggers: Triggers, hook: str, attempts: int) -> bool:
    answer = await triggers.why(hook)
    return answer["details"].get("attempts") == attempts and "tried again" in answer["sentence"]


async def test_redirects_are_not_followed(triggers: Triggers, names: Names, inside: Receiver) -> None:
    locations = (inside.url, "http://169.254.169.254/latest/meta-data/", f"//{INSIDE}:{inside.port}/")
    for status, location in zip((301, 302, 303, 307, 308), cycle(locations), strict=False):
        with Receiver((status, {"location": location}), host=PUBLIC) as public:
            name = f"{status} {location}"
            made = await published(triggers, f"http://{names.lead('shop.example', [PUBLIC])}:{public.port}/", name)
            await triggers.append(order(ANN, name))
            await eventually(partial(_tried, triggers, made, 1))
            assert "a redirect, which is not followed" in (await triggers.why(made))["sentence"]
            assert len(public.came) == 1
            await triggers.post(f"hooks/{made}/pause")


async def test_a_proxy_of_the_environment_is_not_asked(
    settings: Settings, names: Names, inside: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, f"http://{INSIDE}:{inside.port}")
    monkeypatch.setenv("NO_PROXY", INSIDE)  # the test's own requests
    own = TriggersSettings(**settings.model_dump(), webhook_allow=(ip_network(f"{PUBLIC}/32"),))
    with Receiver(host=PUBLIC) as public:
        async with serving(own, names) as triggers:
            made = await published(triggers, f"http://{names.lead('shop.example', [PUBLIC])}:{public.port}/")
            await triggers.append(order(ANN, "1"))
            await triggers.expect(made, "sent")
        assert len(public.came) == 1


async def test_addresses_that_are_not_public_cannot_even_be_saved(triggers: Triggers) -> None:
    for address in UNSAFE:
        host = f"[{address}]" if ":" in address else address
        answer = await triggers.client.post("/v1/hooks", json=hook(f"http://{host}/", address))
        assert answer.status_code == 422
        assert "is not a public address" in answer.json()["detail"]


async def test_other_ways_to_write_this_machine(settings: Settings, inside: Receiver) -> None:
    """As the operating system resolves them."""
    hosts = ["localhost", "localhost.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"]
    own = TriggersSettings(**settings.model_dump(), webhook_allow=(ip_network(f"{PUBLIC}/32"),))
    async with serving(own, system) as triggers:
        made = [await published(triggers, f"http://{host}:{inside.port}/", host) for host in hosts]
        await triggers.append(order(ANN, "1"))
        for each in made:
            await eventually(partial(_refused, triggers, each))


async def _refused(triggers: Triggers, hook: str) -> bool:
    """Refused, or found to lead nowhere: what a resolver makes of odd forms differs."""
    answer = await triggers.why(hook)
    return "not a public address" in answer["sentence"] or "no connection: gaierror" in answer["sentence"]
