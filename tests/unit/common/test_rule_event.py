"""What rules are told they may use of `event` and `customer` is what there is."""

from datetime import UTC, datetime

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Snapshot
from libs.common.rules.cel.names import MEMBERS
from libs.common.rules.rule_event import customer_variables, event_variables


def test_the_members_that_conditions_may_name_are_those_that_there_are() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    input = Input("1", "track.v1", "/apps/shop", now, now, 0, False, None, msgspec.Raw(b"{}"))
    said: dict[str, dict[str, object]] = {"properties": {}, "traits": {}, "context": {}}
    assert set(MEMBERS["event"]) == event_variables("Order Completed", "track", input, said).keys()
    assert set(MEMBERS["customer"]) == customer_variables(Snapshot(id="1")).keys()
