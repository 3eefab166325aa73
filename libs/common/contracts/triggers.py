"""What triggers declares: its facts on messages, and who may read and write hooks."""

from typing import ClassVar, Literal

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

TRIGGERS = "triggers.facts"
Scope = Literal["hooks:read", "hooks:write"]
OwnScope = Literal["own:inbox"]


Channel = Literal["inbox", "webhook"]


class MessageQueued(Fact, frozen=True, kw_only=True):
    """A hook's condition held and nothing withheld the message. It waits for delivery: a webhook, or an inbox message in quiet hours."""

    TYPE: ClassVar[str] = "message.queued.v1"
    message: str
    hook: str
    version: int
    channel: Channel

    @property
    def effect(self) -> str:
        return self.hook


class MessageWithheld(Fact, frozen=True, kw_only=True):
    """A hook's condition held, but a rule withheld the message."""

    TYPE: ClassVar[str] = "message.withheld.v1"
    hook: str
    version: int
    reason: str

    @property
    def effect(self) -> str:
        return self.hook


class MessageSent(Fact, frozen=True, kw_only=True):
    """The message is in its inbox, or its webhook was answered. An inbox message that need not wait has this fact alone."""

    TYPE: ClassVar[str] = "message.sent.v1"
    message: str
    hook: str
    version: int
    channel: Channel

    @property
    def effect(self) -> str:
        return self.message


class MessageFailed(Fact, frozen=True, kw_only=True):
    """Delivery gave up on the message."""

    TYPE: ClassVar[str] = "message.failed.v1"
    message: str
    hook: str
    version: int
    channel: Channel
    error: str

    @property
    def effect(self) -> str:
        return self.message


class MessageSeen(Fact, frozen=True, kw_only=True):
    """The customer opened the message in their inbox."""

    TYPE: ClassVar[str] = "message.seen.v1"
    message: str
    hook: str

    @property
    def effect(self) -> str:
        return self.message


class OptedOut(Fact, frozen=True, kw_only=True):
    """The customer opted out of messages."""

    TYPE: ClassVar[str] = "opted.out.v1"
    by: str


class OptedIn(Fact, frozen=True, kw_only=True):
    """The customer opted in again."""

    TYPE: ClassVar[str] = "opted.in.v1"
    by: str


CONTRACT = Contract(
    Topic(
        TRIGGERS, "triggers", "customer id", "messages that triggers queued, withheld, sent or saw read", ("profile",)
    ),
    (MessageQueued, MessageWithheld, MessageSent, MessageFailed, MessageSeen, OptedOut, OptedIn),
    {"hooks:read": ("marketer", "analyst", "operator"), "hooks:write": ("marketer",)},
    ("own:inbox",),
)
