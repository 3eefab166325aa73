"""Pages of other origins that may ask a service: a list, by CORS. Without it browsers keep the answers from them."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST")
#: What callers send beside what every page may, and what they look at in answers.
SENT = ("authorization", "content-type", "idempotency-key", "last-event-id", "traceparent", "x-request-id")
SHOWN = ("etag", "retry-after", "x-request-id")


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of `origins` read what `app` answers, errors too. Who they are they say with a token; no cookies are taken."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=600,
        )
