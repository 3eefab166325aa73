"""Validation of a hook before it is saved: its condition and texts compile, and its webhook's address is allowed."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from libs.common.errors import Invalid
from libs.common.rules.cel.condition import ConditionError, compile_condition
from libs.common.rules.cel.names import unknown_member
from libs.common.rules.liquid.template import TemplateError, compile_template
from services.triggers.domain.hook import Hook

ROOTS = ("event", "customer")


class Fault(NamedTuple):
    """A fault of a hook: in which part (`at`), and where in that part."""

    at: str
    message: str
    line: int | None = None
    column: int | None = None

    def sentence(self) -> str:
        place = "" if self.line is None else f" at line {self.line}"
        place += "" if self.column is None else f", column {self.column}"
        return f"{self.at}{place}: {self.message}"


def refuse_faulty(hook: Hook, allowed: Callable[[IPv4Address | IPv6Address], bool]) -> None:
    """Raises Invalid, which names every fault with its part (`at`), line and column."""
    if faults := list(_faults(hook, allowed)):
        raise Invalid(
            f"The hook cannot be saved: {'; '.join(fault.sentence() for fault in faults)}.",
            errors=[{name: value for name, value in fault._asdict().items() if value is not None} for fault in faults],
        )


def _faults(hook: Hook, allowed: Callable[[IPv4Address | IPv6Address], bool]) -> Iterator[Fault]:
    if hook.trigger.when is not None:
        try:
            compile_condition(hook.trigger.when)
        except ConditionError as error:
            yield Fault("trigger.when", error.message, error.line, error.column)
    for at, source in (("action.title", hook.action.title), ("action.text", hook.action.text)):
        if source is not None:
            yield from _template(at, source)
    if (address := hook.action.address) is not None and not allowed(address):
        yield Fault(
            "action.url",
            f"{address} is not a public address: webhooks go there only if RAPPORT_TRIGGERS_WEBHOOK_ALLOW contains it",
        )


def _template(at: str, source: str) -> Iterator[Fault]:
    try:
        template = compile_template(source)
    except TemplateError as error:
        yield Fault(at, error.message, error.line, error.column)
        return
    for path in sorted(template.variables):
        wrong = unknown_member(tuple(path.split(".")))
        if path.partition(".")[0] not in ROOTS:
            wrong = f"{path} is unknown: a text may use event.… and customer.…"
        if wrong is not None:
            offset = max(0, source.find(path))
            line, column = source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)
            yield Fault(at, wrong, line, column)
