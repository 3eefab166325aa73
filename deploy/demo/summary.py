"""The results: figures as of a day, read over the public API, as tables."""

import asyncio
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.demo.api import Api

#: Published by Fader & Hardie for the first 39 weeks of the same purchases.
PUBLISHED = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426, "p": 6.25, "q": 3.74, "gamma": 15.44}


async def figures(api: Api, until: date) -> dict[str, Any]:
    """All figures as of the end of the day `until`: the same at every call."""
    day = until.isoformat()
    profile, rewards, triggers, metrics = await asyncio.gather(
        api.get("profile", "/v1/customers/summary", until=day),
        api.get("rewards", "/v1/rewards/summary", until=day),
        api.get("triggers", "/v1/triggers/summary", until=day),
        api.get("metrics", "/v1/metrics/summary", "analyst", until=day),
    )
    for of_this_run in ("duplicates", "duplicates_by_source"):  # a second run sends only duplicates
        profile.pop(of_this_run)
    return {"as_of": day, "profile": profile, "rewards": rewards, "triggers": triggers, "metrics": metrics}


def show(console: Console, title: str, figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    profile, rewards = figures["profile"], figures["rewards"]
    triggers, metrics = figures["triggers"], figures["metrics"]
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("customers", f"{profile['customers']:,}", "one view of each, whatever ids they used")
    table.add_row("  claimed", f"{profile['claims']:,}", "first seen as a browser, then signed in")
    table.add_row("  merged", f"{profile['merges']:,}", "a browser and an account that were one person")
    table.add_row("orders", f"{metrics['orders']:,}", f"by {metrics['customers_with_orders']:,} customers")
    for currency, amount in metrics["revenue"].items():
        table.add_row("revenue", f"{amount} {currency}", f"{metrics['aov'][currency]} an order")
    table.add_row("repeat rate", f"{metrics['repeat_rate']:.1%}", "of the customers with orders ordered again")
    table.add_row("points issued", f"{rewards['points_issued']:,}", f"the ledger sums to {rewards['ledger_sum']}")
    for name, count in sorted(rewards["badges"].items()):
        table.add_row(f"  badge {name}", f"{count:,}", "")
    for name, count in sorted(rewards["levels"].items()):
        table.add_row(f"  level {name}", f"{count:,}", "customers")
    table.add_row("messages sent", f"{triggers['sent']:,}", "to inboxes")
    for reason, count in sorted(triggers["withheld"].items()):
        table.add_row("  withheld", f"{count:,}", reason)
    console.print(table)
    console.print()


def show_fit(console: Console, fit: dict[str, Any]) -> None:
    """Print the fitted parameters beside the published ones."""
    table = Table(title=f"Fitted as of {fit['as_of']}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "fitted", "published"):
        table.add_column(column, justify="right")
    for model, names in (("bgnbd", ("r", "alpha", "a", "b")), ("gamma_gamma", ("p", "q", "gamma"))):
        for name in names:
            published = PUBLISHED[name]
            digits = 3 if model == "bgnbd" else 2
            table.add_row(f"{model} {name}", f"{fit[model][name]:.{digits}f}", f"{published:.{digits}f}")
    console.print(table)
    console.print()


def show_segments(console: Console, segments: list[dict[str, Any]]) -> None:
    """Print the segments, which are as of now: a day later other customers are in them."""
    table = Table(title="Segments, as of now", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("segment")
    table.add_column("customers", justify="right")
    table.add_column("who", style="dim")
    for segment in segments:
        table.add_row(segment["name"], f"{segment['size']:,}", segment["when"])
    console.print(table)
    console.print()


def show_at_risk(console: Console, items: list[dict[str, Any]]) -> None:
    """Print the most valuable customers at risk, each with the reason in a sentence."""
    table = Table(title="The ten most valuable customers at risk", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("customer")
    table.add_column("risk", justify="right")
    table.add_column("12 months", justify="right")
    table.add_column("why")
    for item in items:
        name = next((ref for ref in item["refs"] if ref.startswith("user:")), item["customer"])
        table.add_row(name, f"{item['risk']:.0%}", f"{item['cltv']} {item['currency']}", item["explanation"])
    console.print(table)
    console.print()
