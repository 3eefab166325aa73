"""One webhook request: signed after Standard Webhooks, sent to the checked address, its answer interpreted."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx
import msgspec
from standardwebhooks.webhooks import Webhook

from services.triggers.delivery.addresses import Addresses, Refused

LONGEST_RETRY_AFTER = 24 * 3600.0
USER_AGENT = "Rapport-Webhooks/0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended. `error` is None on success. `final`: trying again is of no use. `gone`: the receiver wants no more
    requests (410). `retry_after`: seconds, if the receiver asked for that."""

    error: str | None = None
    final: bool = False
    gone: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request to a webhook. `id` is the same in every attempt, so that a receiver recognises a second copy. Each of `secrets`
    signs it, the newest first; there are several while a secret is changed."""

    id: str
    url: str
    secrets: tuple[str, ...]
    body: bytes


class Sender:
    """Sends webhooks. No redirects, no proxies, no connection reuse; `seconds` is the limit of a whole attempt."""

    def __init__(self, addresses: Addresses, seconds: float) -> None:
        self._addresses = addresses
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=seconds,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, webhook: WebhookRequest, traceparent: str | None = None) -> Answer:
        """One attempt. Never raises for what the receiver or the network does. `traceparent` goes into a header."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(webhook, traceparent)
        except Refused as refused:
            return Answer(f"{refused}", final=True)
        except TimeoutError:
            return Answer(f"no answer within {self._seconds:g} seconds")
        except httpx.InvalidURL as error:
            return Answer(f"the address is not valid: {error}", final=True)
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            return Answer(f"no connection: {type(error).__name__}: {error}")

    async def _send(self, webhook: WebhookRequest, traceparent: str | None) -> Answer:
        url = urlsplit(webhook.url)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._addresses.resolve(host, port)
        for place, address in enumerate(addresses):
            try:
                return await self._post(webhook, address, host, traceparent)
            except httpx.ConnectError:
                if place == len(addresses) - 1:
                    raise
        raise OSError(f"{host} has no address")

    async def _post(self, webhook: WebhookRequest, address: str, host: str, traceparent: str | None) -> Answer:
        now = datetime.now(UTC)
        request = self._client.build_request(
            "POST",
            httpx.URL(webhook.url).copy_with(host=address),
            content=webhook.body,
            headers={
                "host": httpx.URL(webhook.url).netloc.decode(),
                "content-type": "application/json",
                "user-agent": USER_AGENT,
                "webhook-id": webhook.id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": " ".join(
                    Webhook(secret).sign(webhook.id, now, webhook.body.decode()) for secret in webhook.secrets
                ),
                **({} if traceparent is None else {"traceparent": traceparent}),
            },
            extensions={"sni_hostname": host},
        )
        response = await self._client.send(request, stream=True)
        try:  # the body does not matter, and might be endless
            return understood(response.status_code, response.headers.get("retry-after"), now)
        finally:
            await response.aclose()


def understood(status: int, retry_after: str | None, now: datetime) -> Answer:
    """Interpret an answer: 2xx is success, 410 means no more requests, all others are tried again."""
    if 200 <= status < 300:
        return Answer()
    if status == 410:
        return Answer("the endpoint answered 410 Gone", final=True, gone=True)
    redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
    return Answer(f"the endpoint answered {status}{redirect}", retry_after=_seconds(retry_after, now))


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """`Retry-After` as seconds (RFC 9110, 10.2.3): a number or a date; None when it is neither. At most a day."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - now).total_seconds()), LONGEST_RETRY_AFTER)


def body(message: str, hook: str, customer: str, title: str | None, text: str, event: str, at: datetime) -> bytes:
    """The payload: Standard Webhooks' type, timestamp (when the event happened) and data. The same for every attempt."""
    data = {"message": message, "hook": hook, "customer": customer, "event": event, "title": title, "text": text}
    return msgspec.json.encode({"type": "message", "timestamp": at, "data": data})
