"""`rapport run` and `rapport kafka`: the platform, or Kafka alone, in the foreground until Ctrl-C."""

import asyncio

from deploy.local.kafka import Kafka
from deploy.local.place import Place
from deploy.local.platform import Log, Platform
from deploy.local.ports import kafka_ports
from deploy.local.postgres import SETTINGS
from deploy.local.signals import run_until_signalled
from deploy.local.supervisor import Supervisor
from services.connections import service_settings, summary


def run(log: Log) -> int:
    """Run the whole platform until a signal ends it, which is success. Raises LocalError."""
    return ended(run_until_signalled(_run(log)))


def kafka() -> int:
    """Run Kafka alone until a signal ends it, which is success. Raises LocalError."""
    return ended(run_until_signalled(_kafka()))


def ended(code: int) -> int:
    """0 if a signal ended it."""
    return 0 if code > 128 else code


async def _run(log: Log) -> int:
    place = Place.load()
    say(f"Starting Rapport with its data in {place.home} ...")
    async with Platform(home=place.home, port_base=place.port_base, log=log, say=say) as platform:
        say(welcome(platform))
        try:
            await asyncio.Event().wait()
        finally:
            say("Stopping, after finishing current work (a second Ctrl-C kills everything) ...")
    return 0


def welcome(platform: Platform) -> str:
    """The text to show once everything runs: addresses, tokens, connections."""
    lines = [f"Rapport is running (log: {platform.log}, data: {platform.home}). Ctrl-C stops it.", ""]
    lines += [f"  {name:<9} {url}   its API: {url}/docs" for name, url in platform.urls.items()]
    if platform.kafka:
        lines.append(f"  {'kafka':<9} {platform.kafka.bootstrap}")
    services = {name: service_settings(name).model_copy(update={"log": platform.log}) for name in platform.urls}
    lines += ["", f"{summary(services)} of {SETTINGS['max_connections']}."]
    lines += ["", f"Development tokens, valid for 12 h, also in {platform.home / 'tokens.json'}:", ""]
    lines += [f"  {name:<9} {token}" for name, token in platform.tokens.items()]
    return "\n".join([*lines, ""])


async def _kafka() -> int:
    place = Place.load()
    broker = Kafka(place.home, *kafka_ports(place.port_base), say)
    supervisor = Supervisor(say)
    try:
        await supervisor.start([broker])
        say(f"Kafka is running on {broker.bootstrap} (data: {place.home / 'kafka'}). Ctrl-C stops it.")
        await supervisor.watch()
    finally:
        await supervisor.stop()
    return 0


def say(text: str) -> None:
    """Print immediately."""
    print(text, flush=True)
