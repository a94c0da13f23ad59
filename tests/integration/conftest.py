"""A journal over a spool that loses what was not synced, and a collector that keeps its word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.spool.journal import Journal
from tests.support.lossy_spool import LossySpool
from tests.support.release_lab import Centre


@pytest.fixture
def spool() -> LossySpool:
    return LossySpool()


@pytest.fixture
def journal(tmp_path: Path, spool: LossySpool) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", spool)
    yield journal
    journal.close()


@pytest.fixture
def centre() -> Centre:
    return Centre()
