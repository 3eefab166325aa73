"""Touches: through which channel a customer came, read from an event's campaign (UTM) and referrer. Pure.

A campaign decides before a referrer. A referrer on the page's own host is no touch, and nor is an event that has neither:
its customer came directly, or was there already.
"""

from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

Channel: TypeAlias = Literal["search", "content", "social", "mail", "paid", "influencer", "referral", "direct"]

#: Texts of a touch are cut to so many characters.
LONGEST = 100
#: A touch this long after a customer was first seen (microseconds) did not bring them: they came directly.
VISIT = 30 * 60 * 1_000_000

#: Words of utm_medium. Those of `paid` decide first: "paid-social" is paid.
_MEDIA: dict[Channel, str] = {
    "paid": "paid cpc ppc cpm cpv cpa display banner ad ads retargeting sem",
    "influencer": "influencer influencers creator creators ambassador",
    "mail": "email mail newsletter",
    "social": "social sm",
    "search": "organic search seo",
    "content": "content blog article video podcast pr",
    "referral": "affiliate affiliates referral referrer partner",
}
#: Names in utm_source, and in the hosts of referrers.
_SITES: dict[Channel, str] = {
    "mail": "mail newsletter gmail outlook mailchimp klaviyo sendgrid brevo",
    "search": "google bing duckduckgo yahoo baidu yandex ecosia qwant startpage brave",
    "social": "facebook instagram twitter x t linkedin lnkd tiktok pinterest reddit youtube youtu snapchat threads mastodon"
    " bsky whatsapp telegram",
    "content": "medium substack wordpress blogspot tumblr",
}
_OF_MEDIUM = {word: channel for channel, words in _MEDIA.items() for word in words.split()}
_OF_SITE = {name: channel for channel, names in _SITES.items() for name in names.split()}
_PAID_CLICKS = ("gclid=", "msclkid=", "dclid=", "ttclid=")


class Touch(msgspec.Struct, frozen=True, array_like=True, order=True):
    """When and through what a customer came. `referrer` is a host."""

    at: int
    channel: Channel
    source: str = ""
    medium: str = ""
    campaign: str = ""
    referrer: str = ""


class Context(NamedTuple):
    """The parts of an event's context that touches are read from, as they were sent."""

    campaign: msgspec.Raw
    page: msgspec.Raw
    referrer: msgspec.Raw


class _Campaign(msgspec.Struct):
    name: Any = None
    source: Any = None
    medium: Any = None


class _Page(msgspec.Struct):
    url: Any = None
    referrer: Any = None


class _Referrer(msgspec.Struct):
    url: Any = None


_NO_CAMPAIGN, _NO_PAGE = _Campaign(), _Page()
_campaign = msgspec.json.Decoder(_Campaign)
_page = msgspec.json.Decoder(_Page)
_referrer = msgspec.json.Decoder(_Referrer)


def read(context: Context, at: int) -> Touch | None:
    """The touch of an event; None if it is none. Never fails: what cannot be read is left out."""
    campaign = _decoded(_campaign, context.campaign) or _NO_CAMPAIGN
    page = _decoded(_page, context.page) or _NO_PAGE
    source, medium, name = (_text(part) for part in (campaign.source, campaign.medium, campaign.name))
    url = _text(page.url)
    referrer = _text(page.referrer)
    if not referrer and (said := _decoded(_referrer, context.referrer)) is not None:
        referrer = _text(said.url)
    if referrer and _same_site(referrer := _host(referrer), _host(url)):
        referrer = ""
    paid = "clid=" in url and any(mark in url for mark in _PAID_CLICKS)
    if not (source or medium or name or referrer or paid):
        return None
    channel = _channel(source.casefold(), medium.casefold(), bool(source or medium or name), referrer, paid)
    return Touch(at, channel, source[:LONGEST], medium[:LONGEST], name[:LONGEST], referrer[:LONGEST])


def earlier(one: Touch | None, other: Touch | None) -> Touch | None:
    """The earlier of two touches. Of two at one moment it is always the same one."""
    return min((each for each in (one, other) if each is not None), default=None)


def later(one: Touch | None, other: Touch | None) -> Touch | None:
    """The later of two touches. Of two at one moment it is always the same one."""
    return max((each for each in (one, other) if each is not None), default=None)


def acquired(first_touch: Touch | None, first_seen: int | None) -> Channel:
    """The channel that brought a customer: of their first touch, if it belongs to their first visit."""
    if first_touch is None or (first_seen is not None and first_touch.at > first_seen + VISIT):
        return "direct"
    return first_touch.channel


def _channel(source: str, medium: str, campaign: bool, referrer: str, paid: bool) -> Channel:
    words = [_OF_MEDIUM[word] for word in _split(medium) if word in _OF_MEDIUM]
    if paid or "paid" in words:
        return "paid"
    if words:
        return words[0]
    names = _split(source) if campaign else _split(referrer)
    return next((_OF_SITE[name] for name in names if name in _OF_SITE), "referral")


def _split(text: str) -> list[str]:
    for separator in "-_./+:":
        text = text.replace(separator, " ")
    return text.split()


def _decoded(decoder: Any, value: msgspec.Raw) -> Any:
    if not value:
        return None
    try:
        return decoder.decode(value)
    except msgspec.DecodeError:  # ValidationError is one: it is no object
        return None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _same_site(one: str, other: str) -> bool:
    return one == other or (bool(other) and (one.endswith(f".{other}") or other.endswith(f".{one}")))
