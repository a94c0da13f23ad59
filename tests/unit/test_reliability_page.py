"""Does the page about reliability name the protections that the campaign disables, and the places where they are?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.campaign.mutations import MUTATIONS
from tests.campaign.plan import Kind

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reliability.md").read_text("utf-8")
_ROW: Final = re.compile(
    r"^\| ([^|]+) \| `([a-z-]+)`: ([^|]+) \| `([^|`]+)` \| (\d+) \| (\d+) \| ([^|]+) \|$", re.M
)


def test_the_table_has_every_mutation_of_the_code_and_no_other_in_its_words() -> None:
    said = [
        (name, protection, disabled, where) for protection, name, disabled, where, *_ in _ROW.findall(PAGE)
    ]
    meant = [(name, one.protection, one.disabled, one.where) for name, one in MUTATIONS.items()]
    assert said == meant


def test_the_table_names_seeds_and_runs_as_the_code_begins_with_them() -> None:
    for _, name, _, _, seed, runs, _ in _ROW.findall(PAGE):
        assert int(seed) == MUTATIONS[name].seed + int(runs) - 1, name


def test_protections_are_where_the_table_says() -> None:
    assert not [one.where for one in MUTATIONS.values() if not (ROOT / one.where).is_file()]


def test_every_kind_of_fault_is_explained() -> None:
    """Kinds are grouped on the page; each group begins a row."""
    rows = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("|")}
    groups = {
        Kind.NO_SPACE: "disk full",
        Kind.DISK_FULL: "disk full",
        Kind.RECEIPT_DAMAGED: "lying fsync",
        Kind.CLOCK: "clock",
        **dict.fromkeys(
            (Kind.NET_CUT, Kind.NET_TRUNCATED, Kind.NET_HALF_OPEN, Kind.NET_SLOW, Kind.AWAY), "network"
        ),
        **dict.fromkeys(
            (Kind.MQTT_LOST, Kind.MQTT_TWICE, Kind.MQTT_LATE, Kind.MQTT_CUT, Kind.MQTT_KILLED), "messages"
        ),
        **dict.fromkeys(
            (
                Kind.EARLY_PULL,
                Kind.READ_ERROR,
                Kind.FILE_GROWS,
                Kind.FILE_REPLACED,
                Kind.PULLED_AT_RELEASE,
                Kind.VOLUME_LOCKED,
            ),
            "recorders",
        ),
    }
    assert {
        kind: groups.get(kind, kind.value) for kind in Kind if groups.get(kind, kind.value) not in rows
    } == {}
