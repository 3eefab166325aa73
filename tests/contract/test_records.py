"""One golden example of each type and version of record: it must parse, round-trip and be listed in the documentation."""

from pathlib import Path

import msgspec
import pytest

from libs.common.contracts import types_table
from libs.common.contracts.events import TYPES, ClientEvent
from libs.common.contracts.records import Envelope, Journalled, as_imported, decode, encode, spliced
from libs.common.contracts.registry import BY_TYPE

EXAMPLES = Path(__file__).parent / "records"
ROOT = Path(__file__).parents[2]
KNOWN = sorted([*TYPES.values(), *BY_TYPE])


def example(type: str) -> bytes:
    return (EXAMPLES / f"{type}.json").read_bytes().strip()


def test_every_type_has_one_example() -> None:
    assert sorted(file.stem for file in EXAMPLES.glob("*.json")) == KNOWN


@pytest.mark.parametrize("type", KNOWN)
def test_an_example_round_trips_to_the_same_bytes(type: str) -> None:
    raw = example(type)
    envelope: Envelope = decode(raw)
    assert envelope.type == type
    assert envelope.specversion == "1.0"
    data = msgspec.json.decode(envelope.data, type=BY_TYPE.get(type, ClientEvent))
    again = encode(
        id=envelope.id,
        source=envelope.source,
        type=envelope.type,
        time=envelope.time,
        recordedtime=envelope.recordedtime,
        subject=envelope.subject,
        traceparent=envelope.traceparent,
        causationid=envelope.causationid,
        depth=envelope.depth,
        stamp=envelope.stamp,
        data=data,
    )
    assert again == raw


@pytest.mark.parametrize("type", KNOWN)
def test_each_can_be_marked_as_imported(type: str) -> None:
    raw = example(type)
    envelope, marked = decode(raw), decode(as_imported(raw))
    assert (envelope.imported, marked.imported) == (False, True)
    assert msgspec.structs.replace(marked, imported=False) == envelope
    assert as_imported(raw).endswith(bytes(envelope.data) + b"}")


@pytest.mark.parametrize("type", KNOWN)
def test_a_snapshot_can_be_spliced_into_each(type: str) -> None:
    journalled = spliced(example(type), b'{"id":"c","orders":3}')
    assert msgspec.json.decode(decode(journalled).data, type=Journalled).customer.orders == 3


def test_the_documentation_is_what_the_code_says() -> None:
    assert (ROOT / "docs/records.md").read_text() == types_table.page(), "run `rapport topics > docs/records.md`"
