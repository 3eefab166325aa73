"""Write keys."""

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import keys


def test_a_key_is_told_from_a_mistyped_one() -> None:
    key = keys.make()
    assert keys.is_well_formed(key)
    assert key.startswith(keys.shown(key))
    for place in range(len(key)):
        other = "x" if key[place] != "x" else "y"
        assert not keys.is_well_formed(key[:place] + other + key[place + 1 :])


def test_keys_differ() -> None:
    assert len({keys.make() for _ in range(100)}) == 100


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert not keys.is_well_formed(text)
    assert not keys.is_well_formed("rk_" + text)
