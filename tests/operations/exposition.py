"""What the services' /metrics say, as Prometheus would store it: with the labels that it gives each target."""

from collections.abc import Mapping
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.platform import Platform
from tests.operations.promql import Labels, Snapshot

#: What `deploy/prometheus/prometheus.yml` and Prometheus itself add to each sample.
TARGET = ("job", "instance", "service")


class Exposed(NamedTuple):
    """All samples, and the names of all metrics, with samples or without."""

    samples: dict[tuple[str, Labels], float]
    names: set[str]


async def scrape(platform: Platform) -> Exposed:
    """The five services' metrics as they are now."""
    exposed = Exposed({}, set())
    async with httpx.AsyncClient(timeout=60) as client:
        for service, url in platform.urls.items():
            answer = await client.get(f"{url}/metrics")
            answer.raise_for_status()
            _add(exposed, answer.text, {"job": "rapport", "instance": url, "service": service})
    return exposed


def _add(exposed: Exposed, text: str, target: Mapping[str, str]) -> None:
    exposed.samples["up", frozenset(target.items())] = 1.0
    exposed.names.add("up")
    for family in text_string_to_metric_families(text):
        exposed.names.add(f"{family.name}_total" if family.type == "counter" else family.name)
        for sample in family.samples:
            exposed.names.add(sample.name)
            exposed.samples[sample.name, frozenset({**sample.labels, **target}.items())] = sample.value


def story(*moments: tuple[float, Exposed]) -> list[Snapshot]:
    """Expositions with the times (seconds) at which they are to have been scraped."""
    return [Snapshot(at, exposed.samples) for at, exposed in moments]
