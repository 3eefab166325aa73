"""The hook: what marketers write, as trigger, action, reward and investment."""

import ipaddress
import re
from datetime import time, timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, model_validator
from pydantic.config import JsonDict

from libs.common.contracts.consent import NAME, SERVICE
from libs.common.contracts.triggers import Channel
from libs.common.rules.cel.condition import MAX_LENGTH
from libs.common.rules.liquid.template import MAX_SOURCE
from services.triggers.domain.quiet import Quiet

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=366)


def duration(text: str) -> timedelta:
    """`90s`, `15m`, `1h`, `30d` or `2w`. Raises ValueError for anything else, and outside of 1 s to 366 d."""
    match = re.fullmatch(r"(\d{1,8})([smhdw])", text, re.ASCII)
    given = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta(0) < given <= LONGEST:
        raise ValueError("a duration is a number and s, m, h, d or w, from 1s to 366d: 90s, 1h, 30d")
    return given


def in_words(length: timedelta) -> str:
    """The length in whole units of the largest that fits: 325 days, 2 hours, 1 minute."""
    for unit in ("day", "hour", "minute", "second"):
        count = length // timedelta(**{f"{unit}s": 1})
        if count > 0:
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return "less than a second"


def _checked(text: str) -> str:
    duration(text)
    return text


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"this is not an address: {error}") from error
    if parts.scheme not in ("https", "http") or not host or re.search(r"[\s\x00-\x1f\\]", url) or not url.isascii():
        raise ValueError("a webhook goes to an address such as https://shop.example/hooks (ASCII, no spaces)")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave user and password out of the address: webhooks are signed instead")
    return url


Duration = Annotated[str, AfterValidator(_checked), Field(examples=["30d"])]
WebAddress = Annotated[str, Field(max_length=2000), AfterValidator(_web_address)]
Template = Annotated[str, Field(min_length=1, max_length=MAX_SOURCE, description="Liquid over `event` and `customer`")]


Purpose = Annotated[
    str,
    Field(
        pattern=NAME, description=f"the consent that it needs; `{SERVICE}`, such as an order's confirmation, needs none"
    ),
    AfterValidator(str.lower),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Trigger(_Strict):
    """What starts the hook: an event or a fact, under the name that marketers know, and a condition on it."""

    event: str = Field(min_length=1, max_length=256, examples=["Order Completed"])
    when: str | None = Field(
        default=None,
        max_length=MAX_LENGTH,
        description="CEL over `event` and `customer`; without one, always",
        examples=["event.properties.revenue > 50"],
    )


class Action(_Strict):
    """The message, and how it reaches people: in their inbox, or as a signed webhook to `url`. It is sent to customers who
    consent to its `purpose`."""

    channel: Channel
    purpose: Purpose = "marketing"
    title: Template | None = None
    text: Template
    url: WebAddress | None = None

    @model_validator(mode="after")
    def _address_for_webhooks_only(self) -> Self:
        if (self.channel == "webhook") != (self.url is not None):
            raise ValueError("a webhook needs a url" if self.url is None else "only a webhook has a url")
        return self

    @property
    def endpoint(self) -> str:
        """The unit that limits concurrent deliveries: `inbox`, or scheme, host and port."""
        if self.url is None:
            return "inbox"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The IP address in the url, if it has one instead of a host name."""
        try:
            return ipaddress.ip_address(urlsplit(self.url or "").hostname or "")
        except ValueError:
            return None


class Cap(_Strict):
    """At most `count` messages of the hook to a customer in any `period`, by when the events happened."""

    count: StrictInt = Field(ge=1, le=100)
    period: Duration


_LOCAL_TIME = "^([01][0-9]|2[0-3]):[0-5][0-9]$"


def _local_time(text: str) -> str:
    if not re.fullmatch(_LOCAL_TIME, text):
        raise ValueError("a time of the day is hours and minutes, from 00:00 to 23:59")
    return text


LocalTime = Annotated[
    str, AfterValidator(_local_time), Field(examples=["22:00"], json_schema_extra={"pattern": _LOCAL_TIME})
]


class QuietHours(_Strict):
    """When nothing is sent, in the customer's local time; over midnight when `to` is before `from`."""

    model_config = ConfigDict(populate_by_name=True, json_schema_extra={"example": {"from": "22:00", "to": "08:00"}})

    start: LocalTime = Field(alias="from")
    end: LocalTime = Field(alias="to")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.end:
            raise ValueError("quiet hours must not end when they begin: leave them out, or pause the hook")
        return self

    def of(self, zone: str) -> Quiet:
        """These hours in the zone of a customer."""
        return Quiet(time.fromisoformat(self.start), time.fromisoformat(self.end), zone)


class Limits(_Strict):
    """When a match sends nothing: the cap is reached, or the event arrived later than `freshness` after it happened (unless the
    hook accepts `history`). A message decided in `quiet_hours` is sent when they end. With `none` the hook sends at any time,
    whatever the workspace's quiet hours are."""

    cap: Cap | None = None
    freshness: Duration = "1h"
    history: StrictBool = False
    quiet_hours: QuietHours | Literal["none"] | None = Field(default=None, description="null: the workspace's")


_EXAMPLE: JsonDict = {
    "name": "Thank you for a big order",
    "trigger": {"event": "Order Completed", "when": "event.properties.revenue > 50"},
    "action": {"channel": "inbox", "title": "Thank you", "text": "Thank you for ${{ event.properties.revenue }}!"},
    "limits": {"cap": {"count": 1, "period": "30d"}},
}


class Hook(_Strict):
    """A hook: trigger, action, (variable) reward and investment, after the Hook model; and its limits."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    name: str = Field(min_length=1, max_length=120, examples=["Thank you for a big order"])
    trigger: Trigger
    action: Action
    reward: dict[str, JsonValue] | None = None
    investment: dict[str, JsonValue] | None = None
    limits: Limits = Limits()
