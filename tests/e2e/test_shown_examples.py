"""Every body that an OpenAPI page shows, posted as it stands, with the page read from the running service."""

import re
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from deploy.local.platform import Platform
from deploy.local.tokens import private_key_file
from libs.common.contracts.registry import SCOPES
from libs.common.http.auth.tokens import mint
from tests.contract.test_openapi import WITH_BODY, example
from tests.openapi import Operation

#: 404: there is no such customer, hook …; 409: there is too little to fit, a name is taken. The body was taken.
TAKEN = {200, 201, 404, 409}


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_an_example_can_be_posted_as_it_stands(platform: Platform, everything: str, operation: Operation) -> None:
    path = re.sub(r"\{ref\}", "user:nobody", operation.path)
    path = re.sub(r"\{\w+\}", str(uuid.uuid4()), path)
    headers = {"authorization": f"Bearer {everything}", "idempotency-key": str(uuid.uuid4())}
    sdks = "write key" in str(operation.said.get("security"))
    async with httpx.AsyncClient(base_url=platform.urls[operation.service], timeout=90) as client:
        page = (await client.get("/openapi.json")).json()
        said = page["paths"][operation.path][operation.method.lower()]
        shown = example(operation._replace(said=said, page=page))
        if sdks:
            answer = await client.post(path, json=shown, auth=(platform.tokens["write_key"], ""))
            assert answer.status_code == 200
            assert {result["status"] for result in answer.json()["results"]} == {"ok"}
        else:
            answer = await client.request(operation.method, path, json=shown, headers=headers)
            assert answer.status_code in TAKEN, answer.text


@pytest.fixture(scope="module", autouse=True)
async def limits_set_back(platform: Platform, everything: str) -> AsyncIterator[None]:
    """The limits of all messages as they were: with the quiet hours of the example, other tests here would send nothing at
    night."""
    headers = {"authorization": f"Bearer {everything}"}
    async with httpx.AsyncClient(base_url=platform.urls["triggers"], headers=headers) as client:
        before = (await client.get("/v1/workspace/messages")).json()
        yield
        (await client.put("/v1/workspace/messages", json=before)).raise_for_status()


@pytest.fixture(scope="package")
def everything(platform: Platform) -> str:
    """A token with all scopes."""
    return mint(private_key_file(platform.home).read_text(), "test", SCOPES, timedelta(hours=1))
