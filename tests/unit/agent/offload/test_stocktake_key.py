"""By what is a recorder known again, where its files give no number?"""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from agent.offload.stocktake import take_stock
from firmware_profiles.load import load_registry
from tests.support.memory_volume import MemoryVolume

REGISTRY = load_registry()
GENERIC = next(profile for profile in REGISTRY.profiles if profile.id == "generic")


@pytest.mark.parametrize(
    ("quirks", "key"), [(frozenset(), "label:NO NAME"), ({"shared-volume-label"}, "bay:memory/bay-1")]
)
def test_a_label_that_every_unit_has_is_nobodys(quirks: frozenset[str], key: str) -> None:
    profile = replace(GENERIC, quirks=frozenset(quirks))
    volume = MemoryVolume({b"a.mp4": b"x"}, label="NO NAME")
    with take_stock(volume, REGISTRY, ZoneInfo("Asia/Shanghai"), profile) as stock:
        assert stock.found.recorder_key == key
