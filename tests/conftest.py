"""What every test is kept from leaving behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Commands run inside a test set the umask of the whole process; the next test shall not live with it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
