"""Ingest, as an import uses it: `POST /v1/import`, tried again until it answers."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx
import msgspec

from deploy.local.errors import LocalError
from libs.common.runtime.backoff import Backoff

PATIENCE = 600.0  # seconds without an answer, after which an import gives up; the next one continues there
_SHORTEST, _LONGEST = 0.5, 30.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Result(msgspec.Struct):
    """What became of one event."""

    status: str
    reason: str | None = None


class _Answer(msgspec.Struct):
    results: list[Result] = []


class _Problem(msgspec.Struct):
    detail: str = ""


class Ingest:
    """`with Ingest(url, key) as ingest:` `say` gets a sentence while ingest does not answer."""

    def __init__(
        self, url: str, key: str, say: Callable[[str], None], pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._url = url
        self._say = say
        self._pause = pause
        self._http = httpx.Client(base_url=url, auth=(key, ""), timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, events: Sequence[bytes]) -> list[Result]:
        """Store events; returns a result for each, in their order. Those that are not rejected are in the log then.

        Raises LocalError when ingest refuses all of them, or has not answered for PATIENCE seconds.
        """
        body = b'{"batch":[' + b",".join(events) + b"]}"
        waited, backoff = 0.0, Backoff(_SHORTEST, _LONGEST)
        while True:
            try:
                answer = self._http.post("/v1/import", content=body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                why, after = f"{type(error).__name__}: {error}", None
            else:
                if answer.status_code == 200:
                    return _results(answer.content, len(events))
                why = f"{answer.status_code}: {_detail(answer)}"
                if answer.status_code not in _AGAIN:
                    raise LocalError(f"Ingest refused the import ({why}).")
                after = answer.headers.get("retry-after")
            pause = min(float(after), _LONGEST) if after is not None and after.isdecimal() else backoff.pause()
            if waited + pause > PATIENCE:
                raise LocalError(
                    f"Ingest at {self._url} has stored nothing for {waited:.0f} seconds ({why}). The same command continues"
                    " where this one ended."
                )
            self._say(f"Ingest at {self._url} does not take events just now ({why}): trying again in {pause:.0f} s.")
            self._pause(pause)
            waited += pause


def _results(content: bytes, count: int) -> list[Result]:
    try:
        results = msgspec.json.decode(content, type=_Answer).results
    except ValueError:
        results = []
    if len(results) != count:
        raise LocalError(f"The answer is not ingest's: {content[:200]!r}. Give ingest's own address with --to.")
    return results


def _detail(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Problem).detail or answer.reason_phrase
    except ValueError:
        return answer.reason_phrase
