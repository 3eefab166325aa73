"""What the documents name is there: files, tests, routes, limits."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from deploy.local.service import ROOT
from deploy.reference import APPS
from libs.common.contracts.registry import SCOPES, SERVICES
from services import connections
from services.ingest.domain import limits

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(path for name in SERVICES for path in (ROOT / "services" / name).glob("README.md")),
    ]
)
DECISIONS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)\s]*)?\)")
TEST = re.compile(r"`(tests/[\w/.-]+)(?:::(\w+))?`")
ROUTE = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/v1/[^`?\s]*)`")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def paths(name: str) -> set[tuple[str, str]]:
    """A service's routes: (method, path), parameters without their names."""
    app: FastAPI = APPS[name].create(connections.service_settings(name))
    return {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith("/v1")
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, test in TEST.findall(page.read_text()):
        assert (ROOT / path).exists(), path
        assert not test or re.search(rf"def {test}\b", (ROOT / path).read_text()), test


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_has_its_parts_and_is_listed(page: Path) -> None:
    text = page.read_text()
    assert all(part in text for part in ("**Context.**", "**Decision.**", "**Kept by**"))
    assert len(text.splitlines()) <= 60
    assert page.name in (page.parent / "README.md").read_text()


def test_the_routes_of_the_api_guide_exist() -> None:
    known = set().union(*(paths(name) for name in SERVICES))
    guide = (ROOT / "docs/api-guide.md").read_text()
    routes = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in ROUTE.findall(guide)}
    assert len(routes) > 40
    assert routes <= known, routes - known


def test_one_proxy_can_serve_all_services() -> None:
    served = [path for name in SERVICES for path in {path for _, path in paths(name)}]
    assert len(served) == len(set(served)), sorted(path for path in served if served.count(path) > 1)


def test_the_api_guide_knows_every_scope_and_limit() -> None:
    guide = (ROOT / "docs/api-guide.md").read_text()
    assert all(f"`{scope}`" in guide for scope in SCOPES)
    for limit in (limits.BODY, limits.EVENT, limits.EVENTS, limits.ID, limits.MESSAGE_ID):
        assert f"{limit:,}" in guide, limit
