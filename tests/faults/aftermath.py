"""What comes after the faults: somebody spends all of their points, and then gives back what had earned some of them."""

import random
from collections.abc import Sequence
from dataclasses import replace

import httpx

from tests.faults.client import Client
from tests.faults.model import CANCELLED, COMPLETED, REFUNDED, expected
from tests.faults.stage import Stage
from tests.faults.workload import Adjust, Said, Workload


async def play(stage: Stage, client: Client, workload: Workload, adjusted: list[Adjust]) -> list[str]:
    """With the platform at rest; adds to the workload and to `adjusted` what it did. What was answered wrongly."""
    balances = [person.balance for person in expected(workload, adjusted).people]
    richest = max(range(len(balances)), key=balances.__getitem__)
    if balances[richest] <= 0:
        return []
    ref, chance = workload.people[richest].refs[-1], random.Random(0)  # noqa: S311
    spent = Adjust(richest, ref, -balances[richest], f"{ref}-spent", copies=2)
    await client.adjust(spent, chance)
    adjusted.append(spent)
    if (status := (await _take_one_more(stage, ref)).status_code) != 409:
        return [f"person {richest} has spent everything, and taking another point was answered {status}"]
    for done in _kept([said for said in workload.events.values() if said.person == richest])[:1]:
        back = replace(done, message=f"{done.message}-back", event=REFUNDED, amount=None)
        await client.send([back], chance)
        workload.requests.append([back])
    return []


async def _take_one_more(stage: Stage, ref: str) -> httpx.Response:
    return await stage.http.post(
        f"{stage.platform.urls['rewards']}/v1/customers/{ref}/adjustments",
        json={"points": -1, "reason": "one more"},
        headers={**stage.bearer("marketer"), "idempotency-key": f"{ref}-one-more"},
    )


def _kept(said: Sequence[Said]) -> list[Said]:
    """The orders of which nothing was given back."""
    back = {each.order for each in said if each.event in (REFUNDED, CANCELLED)}
    return [each for each in said if each.event == COMPLETED and each.order not in back and not each.poison]
