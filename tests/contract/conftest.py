"""A catalogue over a real database, and a log to fill it with: the collector and one station are enrolled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.catalogue import Catalogue
from protocol.ids import COLLECTOR
from tests.support.catalogues import catalogue_in
from tests.support.statements import Listings, Log, enrolled


@pytest.fixture
def listings() -> Listings:
    return Listings()


@pytest.fixture
def catalogue(tmp_path: Path, listings: Listings) -> Iterator[Catalogue]:
    with catalogue_in(tmp_path, listings) as opened:
        yield opened


@pytest.fixture
def log() -> Log:
    log = Log()
    log.add(enrolled(COLLECTOR), enrolled("dock-1", "alpha"))
    return log
