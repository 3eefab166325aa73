"""The page at /docs needs nothing from anywhere else."""

import re
from urllib.parse import urljoin

import httpx

from libs.common.errors import Unavailable
from libs.common.runtime.component import Check
from libs.common.settings import Settings
from tests.client import running
from tests.integration.common import tiny

#: What a page, its scripts' beginnings or a style sheet load, but for what they carry themselves.
LOADED = re.compile(r"""(?:(?:src|href)=|\burl: ?|\burl\(|@import )["']?(?!data:)([^"')\s>]+)""")


class Away:
    """A component that cannot start."""

    name = "fold"

    async def start(self) -> None:
        raise Unavailable("PostgreSQL is away")

    async def stop(self) -> None:
        """It has not begun."""

    async def check(self) -> Check:
        return Check(False)


async def test_the_page_and_all_that_it_loads_come_from_the_service() -> None:
    """Also while a dependency is away: it is then that people look."""
    async with running(tiny.create(Settings(), [Away()])) as client:
        page = await client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        found = LOADED.findall(page.text)
        assert len(found) == 4, found
        for place in found:
            assert not re.match(r"[a-z]+:|//", place), place
            answer = await client.get(urljoin("/docs", place))
            assert answer.status_code == 200, place
            _is_whole(place, answer)
        assert '"validatorUrl": null' in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'self';")


def _is_whole(place: str, answer: httpx.Response) -> None:
    match place.rpartition(".")[2]:
        case "js":
            assert "javascript" in answer.headers["content-type"]
            assert "SwaggerUIBundle" in answer.text
        case "css":
            assert answer.headers["content-type"].startswith("text/css")
            assert LOADED.findall(answer.text) == []
        case "png":
            assert answer.content.startswith(b"\x89PNG")
        case "json":
            assert "/v1/things/open" in answer.json()["paths"]
