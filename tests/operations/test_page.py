"""docs/operations.md: its commands are run as they stand, and what leads to its sections leads somewhere."""

import asyncio
import os
import re
import sys
import uuid
from pathlib import Path

import httpx
import yaml  # type: ignore[import-untyped]

from deploy.local.cluster import programs
from deploy.local.platform import Platform
from deploy.local.service import ROOT
from tests.operations.broken import break_record
from tests.support import eventually

PAGE = (ROOT / "docs/operations.md").read_text()
BLOCKS = re.findall(r"^```sh ?(.*)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)


def anchor(heading: str) -> str:
    """What a heading is called in a link, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


async def dead_letter(platform: Platform) -> str:
    """The id of a dead letter that waits."""
    await break_record(platform)
    headers = {"authorization": f"Bearer {platform.tokens['operator']}"}

    async def waiting() -> str:
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            answer = await client.get(f"{platform.urls['profile']}/v1/profile/dead-letters")
        return str(answer.json()["items"][-1]["id"]) if answer.json()["items"] else ""

    return await eventually(waiting)


def test_each_block_is_run_here_or_says_where() -> None:
    for how, _ in BLOCKS:
        assert not how or how.startswith("by hand: ") or (ROOT / how).is_file(), how
    assert sum(not how for how, _ in BLOCKS) >= 8
    assert PAGE.count("```sh") == len(BLOCKS)


async def test_the_commands_work_as_they_stand(platform: Platform, tmp_path: Path) -> None:
    assert platform.postgres is not None
    restored = await asyncio.to_thread(platform.postgres.create_database, f"restored_{uuid.uuid4().hex[:8]}")
    script = "\n".join(["set -eux", *(block for how, block in BLOCKS if not how)])
    for number, url in enumerate(platform.urls.values(), start=1):
        script = script.replace(f"http://127.0.0.1:800{number}", url)
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    environment = {
        **platform.environment("profile"),
        "PATH": f"{programs()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ID": await dead_letter(platform),
        "RESTORED_URL": restored,
    }
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 110)
    said = out.decode()
    assert process.returncode == 0, said + errors.decode()
    assert said.count("What to do: ") == 5
    assert '"error":"DecodeError' in said or '"error":"' in said
    assert '"outcome":"discarded"' in said
    assert '"failed":[{' in said
    assert '"through":' in said
    assert re.search(r"rewards/fold is \d+ records? behind", said)


def test_links_into_the_page_lead_somewhere() -> None:
    sections = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    for link in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert link in sections, link
    linked = set()
    for file in [*ROOT.glob("libs/**/*.py"), *ROOT.glob("services/**/*.py"), ROOT / "deploy/prometheus/rules.yml"]:
        text = file.read_text().replace("{_PAGE}", "docs/operations.md")
        linked |= set(re.findall(r"docs/operations\.md#([\w-]+)", text))
    assert {"gaps", "disk-full", "a-partition-has-stopped"} <= linked <= sections, linked - sections


def test_prometheus_and_grafana_fit_into_the_compose_file() -> None:
    ours = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    added = yaml.safe_load((ROOT / "deploy/prometheus/compose.yml").read_text())
    assert not added["services"].keys() & ours["services"].keys()
    assert added.keys() <= {"services", "configs", "volumes"}
    mounted = {config["source"] for container in added["services"].values() for config in container["configs"]}
    assert mounted == added["configs"].keys()
    assert all((ROOT / config["file"]).is_file() for config in added["configs"].values())
    for container in added["services"].values():
        assert re.fullmatch(r"[\w-]+/[\w-]+:v?\d+\.\d+\.\d+", container["image"])
        assert all(port.startswith("127.0.0.1:") for port in container["ports"])
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/source.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
