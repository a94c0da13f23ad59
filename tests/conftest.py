"""What every test is kept from leaving behind, and what none of them is judged by."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("zhilu", deadline=None)  # how busy the machine is says nothing about the code
settings.load_profile("zhilu")


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Commands run inside a test set the umask of the whole process; the next test shall not live with it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
