"""One guest for all tests of a file that a worker runs, booted when the first one asks for it.

Without QEMU these tests are skipped on somebody's own machine, and fail where CI is set: there they must run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.guest.boot import Guest, running_guest
from tests.support.guest.build import GuestUnavailableError

HERE: Final = Path(__file__).parent

ALL_VARIABLE: Final = "ZHILU_GUEST_ALL"
"""Set, also what is marked ``thorough`` is run: an emulated processor is slow, and of what other tests show too without
a guest, one of each kind is in every run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.guest)
    items[:] = [
        item for item in items if ALL_VARIABLE in os.environ or item.get_closest_marker("thorough") is None
    ]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    try:
        with running_guest() as booted:
            yield booted
    except GuestUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the guest: {error}")
        pytest.skip(f"NOT TESTED with real USB: {error}")
