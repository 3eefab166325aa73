"""What identifies nobody, and what only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.identifiers import BLOCKED, identifies_nobody


@pytest.mark.parametrize(
    "text",
    [
        *("None", "none", "nil", "NaN", "n/a", "[object Object]", "guest", "unknown", "true", "(null)", "{{userId}}"),
        *("distinct_id", "undefined@undefined.com", "  null ", "", " \t", "0", "-1", "--", "0000-0000", "${user.id}"),
        *("<%= user.id %>", "*|EMAIL|*", "%%userid%%", "UNDEFINED", "{{ \n}}"),
    ],
)
def test_what_identifies_nobody(text: str) -> None:
    assert identifies_nobody(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ann",
            "00000000-0000-4000-8000-000000000001",
            "-7",
            "0a",
            "nonesuch",
            "guest-17",
            "null@shop.example",
            "true.north",
        ),
        *("{3f2b8d1e-0c4a-4c8e-9a54-0f6f6f0b1c2d}", "$ann", "<ann>", "unknown@shop.example", "u", "n", "%ann"),
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    assert not identifies_nobody(text)


def test_a_workspace_may_add_its_own() -> None:
    assert identifies_nobody(" Kiosk ", {"kiosk"})
    assert not identifies_nobody("kiosk-2", {"kiosk"})


@given(st.sampled_from(sorted(BLOCKED)), st.text(" \t\n", max_size=3))
def test_case_and_space_do_not_matter(text: str, space: str) -> None:
    assert text == text.lower()
    assert identifies_nobody(space + text.upper() + space)
