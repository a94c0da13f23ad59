"""A site of its own for each test, and one that is furnished once for many; their processes end with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.furnished import Furnished, furnish
from tests.support.processes import Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path / "site") as opened:
        yield opened


@pytest.fixture(scope="module")
def furnished_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    with furnish(tmp_path_factory.mktemp("furnished")) as made:
        yield made


@pytest.fixture
def furnished(furnished_once: Furnished) -> Iterator[Furnished]:
    """Audited after each test: whatever was tried, evidence and log must still hold."""
    yield furnished_once
    furnished_once.audit()
