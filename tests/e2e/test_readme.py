"""The README's loop by hand, pasted as it stands: only the ports and the folder are those of the running platform."""

import asyncio
import re
import shutil
from pathlib import Path

from deploy.local.platform import Platform

README = Path(__file__).parents[2] / "README.md"


def snippets() -> list[str]:
    """The shell snippets after `make run`, in order."""
    section = README.read_text().split("## The loop by hand")[1].split("\n## ")[0]
    return [block for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if block.strip() != "make run"]


def placed(text: str, platform: Platform) -> str:
    for number, url in enumerate(platform.urls.values(), start=1):
        text = text.replace(f"http://127.0.0.1:800{number}", url)
    return text.replace(".rapport/tokens.json", str(platform.home / "tokens.json"))


async def test_the_loop_by_hand(platform: Platform, tmp_path: Path) -> None:
    assert shutil.which("curl"), "the README's commands need curl"
    *before, after, segment = snippets()
    assert len(before) == 4
    seen = """*'"available":79'*'Thank you for your order of $79.9!'*'"verdict":"sent"'*"""
    ask = f"out=$({{\n{after}}}); case $out in {seen}) break;; esac; sleep 0.1"
    again = f'for try in $(seq 100); do {ask}; done; echo "$out"'
    script = placed("\n".join(["set -e", *before, again, segment]), platform)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    said = out.decode()
    assert process.returncode == 0, said + errors.decode()
    assert '"available":79' in said, said
    assert "Thank you for your order of $79.9!" in said, said
    assert '"verdict":"sent"' in said, said
    assert '"because":"true because count(\\"Order Completed\\", days=30) >= 1 (it was 1)"' in said, said
