"""The order of the test run."""

import pytest

from tests.conftest import SLOWEST_FIRST, folder_of


def test_slow_folders_come_first(request: pytest.FixtureRequest) -> None:
    """Each folder is run as a whole, in the order declared."""
    folders = [folder_of(item) for item in request.session.items]
    assert folders == sorted(folders, key=SLOWEST_FIRST.index)
