"""CORS: the origins whose pages may read a service's answers."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "PUT")
#: Request headers that pages may send, and response headers that they may read.
SENT = ("authorization", "content-type", "idempotency-key", "last-event-id", "traceparent", "x-request-id")
SHOWN = ("etag", "retry-after", "x-request-id")


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of `origins` read the answers of `app`, errors included. They authenticate with a token, not with cookies."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=600,
        )
