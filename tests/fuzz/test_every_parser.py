"""Does anything but an error of our tree ever come out of a parser, whatever goes in?

Inputs are valid ones, bent: ``tests.support.mutations``. What longer searches with ``scripts/fuzz`` found lies in
``findings/<target>/`` and is tried again here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_targets import TARGETS
from tests.support.mutations import NASTY, bent, bent_json, is_json

FINDINGS: Final = Path(__file__).parent / "findings"

_JSON: Final = [name for name, target in TARGETS.items() if all(map(is_json, target.seeds()))]
_settings: Final = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_valid_is_taken(name: str) -> None:
    """Or the searches below would begin behind a closed door."""
    for seed in TARGETS[name].seeds():
        TARGETS[name].feed(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    for path in sorted((FINDINGS / name).glob("*")):
        TARGETS[name].try_out(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_single_nasty_pieces_are_only_refused(name: str) -> None:
    target = TARGETS[name]
    for piece in NASTY:
        target.try_out(piece)
        for seed in target.seeds():
            target.try_out(piece + seed)
            target.try_out(seed + piece)


@pytest.mark.parametrize("name", TARGETS)
@_settings
@given(data=st.data())
def test_bent_bytes_are_only_refused_or_read(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    target.try_out(data.draw(bent(tuple(target.seeds()))))


@pytest.mark.parametrize("name", _JSON)
@_settings
@given(data=st.data())
def test_any_value_in_any_member_is_only_refused_or_read(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    target.try_out(data.draw(bent_json(tuple(target.seeds()))))


def test_every_finding_belongs_to_a_target() -> None:
    assert {path.name for path in FINDINGS.iterdir() if path.is_dir()} <= set(TARGETS)
