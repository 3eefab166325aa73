"""`rapport demo`: sends eighteen months of real purchases through the whole platform, in two acts."""

import argparse
import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo import summary
from deploy.demo.api import Api
from deploy.demo.programme import publish_segments, set_up
from deploy.demo.purchases import CALIBRATION_END, FIRST, LAST, Event, accounts, events, last_day, orders
from deploy.demo.sending import send
from deploy.local.errors import LocalError
from deploy.local.place import Place
from deploy.local.platform import Platform
from deploy.local.signals import run_until_signalled


def main(argv: list[str]) -> int:
    """Run the demo. Returns 0 if every event arrived, 1 if one was lost or refused."""
    parser = argparse.ArgumentParser(prog="rapport demo", description=__doc__)
    parser.add_argument("--log", choices=("postgres", "kafka"), default="postgres", help="which log the services read")
    parser.add_argument("--keep", action="store_true", help="leave everything running afterwards, until Ctrl-C")
    options = parser.parse_args(argv)
    place = Place.load()
    home = place.home / f"demo-{options.log}"
    console = Console(width=None if Console().is_terminal else 140)
    return run_until_signalled(_run(console, home, place.port_base, options.log, options.keep))


async def _run(console: Console, home: Path, port_base: int, log: Any, keep: bool) -> int:
    console.print(f"Starting PostgreSQL{' and Apache Kafka' if log == 'kafka' else ''} and the five services …")
    async with Platform(home=home, port_base=port_base, log=log, say=console.print) as platform, Api(platform) as api:
        await Demo(console, platform, api, home, datetime.now(UTC).date()).play()
        if keep:
            console.print("Left running:")
            for name, url in platform.urls.items():
                console.print(f"  {name:<9} {url}/docs")
            console.print(f"Tokens: {home / 'tokens.json'}. Ctrl-C stops everything.")
            await asyncio.Event().wait()
    return 0


class Demo:
    """The two acts, on a running platform; `today` places the purchases in time at the first run."""

    def __init__(self, console: Console, platform: Platform, api: Api, home: Path, today: date) -> None:
        self._console = console
        self._platform = platform
        self._api = api
        self._home = home
        self._orders = orders()
        self._shift: timedelta = last_day(home, today) - LAST
        self._sent = 0

    async def play(self) -> None:
        """Both acts. Raises LocalError when an event is lost."""
        first, middle, last = (day + self._shift for day in (FIRST, CALIBRATION_END, LAST))
        report: dict[str, Any] = {}
        await set_up(self._api, first)
        before = await self._taken()
        await self._act("accounts that exist already", list(accounts(self._orders, self._shift)))
        await self._act(f"39 weeks to {middle}", list(events(self._orders, self._shift, FIRST, CALIBRATION_END)))
        await self._account_for(before)
        fit = await self._fit(middle)
        report["first"] = await self._report(f"Results of the first 39 weeks (to {middle})", middle)
        report["first"]["fit"] = _stable(fit)
        summary.show_fit(self._console, fit)
        rest = list(events(self._orders, self._shift, CALIBRATION_END + timedelta(days=1), LAST))
        await self._act(f"39 weeks to {last}", rest)
        await self._account_for(before)
        report["holdout"] = await self._holdout(fit, last)
        report["second"] = await self._report(f"After 78 weeks (to {last})", last)
        report["second"]["fit"] = _stable(await self._fit(last))
        report["at_risk"] = await self._at_risk()
        summary.show_segments(self._console, await publish_segments(self._api))
        (self._home / "summary.json").write_text(json.dumps(report, indent=2, sort_keys=True, default=str) + "\n")

    async def _act(self, title: str, what: list[Event]) -> None:
        with self._progress() as progress:
            sending = progress.add_task(f"sending {title}", total=len(what))
            working = progress.add_task("services catch up", total=None)
            sent = asyncio.to_thread(
                send,
                what,
                self._platform.tokens["write_key"],
                self._platform.urls["ingest"],
                lambda more: progress.advance(sending, more),
            )
            self._sent += await sent
            await self._caught_up(lambda lag, most: progress.update(working, total=most or 1, completed=most - lag))
            progress.update(working, total=1, completed=1)

    async def _caught_up(self, tell: Any = lambda lag, most: None) -> None:
        """Wait until every reader's lag, forwarders included, is zero on two successive readings."""
        most, quiet = 0, 0
        while quiet < 2:
            lag = await self._api.lag()
            if lag is not None:
                lag += int((await self._api.get("triggers", "/v1/triggers/summary"))["queued"])
                most = max(most, lag)
                tell(lag, most)
            quiet = quiet + 1 if lag == 0 else 0
            await asyncio.sleep(0.2)

    async def _fit(self, as_of: date) -> dict[str, Any]:
        fit: dict[str, Any] = await self._api.post("metrics", "/v1/fits", {"as_of": as_of.isoformat()}, "analyst")
        while fit.get("status") == "scoring":
            await asyncio.sleep(0.2)
            fit = await self._api.get("metrics", f"/v1/fits/{fit['id']}", "analyst")
        await self._caught_up()
        return fit

    async def _report(self, title: str, until: date) -> dict[str, Any]:
        found = await summary.figures(self._api, until)
        summary.show(self._console, title, found)
        return found

    async def _holdout(self, fit: dict[str, Any], until: date) -> dict[str, Any]:
        found: dict[str, Any] = await self._api.get(
            "metrics", f"/v1/fits/{fit['id']}/holdout", "analyst", until=until.isoformat()
        )
        self._console.print(
            f"Predicted for the next 39 weeks: {found['predicted']:,.0f} purchases; actual: {found['actual']:,}.\n"
        )
        return found

    async def _at_risk(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self._api.get("metrics", "/v1/scores", "analyst", at_risk=True, limit=10))[
            "items"
        ]
        summary.show_at_risk(self._console, items)
        return items

    async def _taken(self) -> tuple[int, int]:
        found = await self._api.get("profile", "/v1/customers/summary")
        return found["events"], found["duplicates"]

    async def _account_for(self, before: tuple[int, int]) -> None:
        """Sent must equal accepted: every event is either in the journal, or was dropped as a duplicate."""
        events_after, duplicates_after = await self._taken()
        accepted, duplicates = events_after - before[0], duplicates_after - before[1]
        self._console.print(
            f"This run has sent {self._sent:,} events: {accepted + duplicates:,} accepted, of which {duplicates:,} were"
            " dropped as duplicates of an earlier run.\n"
        )
        if accepted + duplicates != self._sent:
            raise LocalError(f"{self._sent - accepted - duplicates} events were lost.")

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Progress]:
        columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            yield progress


def _stable(fit: dict[str, Any]) -> dict[str, Any]:
    """The part of a fit that is the same on every log and every run."""
    return {name: fit[name] for name in ("as_of", "bgnbd", "gamma_gamma")}
