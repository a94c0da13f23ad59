"""In which order tests come, what they are not judged by, and what they are kept from leaving behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import settings

settings.register_profile("zhilu", deadline=None)  # how busy the machine is says nothing about the code
settings.load_profile("zhilu")

# in the background shells ignore it, for all children too
signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST_FIRST: Final = ("tests/campaign/", "tests/e2e/", "tests/guest/", "tests/fault/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes side by side end at about the same time when what takes longest does not begin last."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST_FIRST))


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Commands run inside a test set the umask of the whole process; the next test shall not live with it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
