"""Where the test material (vectors, judges, sample media) lies: real inputs this project did not make."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MATERIAL = Path(os.environ.get("ZHILU_TEST_MATERIAL", Path(__file__).parents[2].parent / "shared"))

needs_material = pytest.mark.skipif(
    not MATERIAL.is_dir(), reason=f"test material not found at {MATERIAL}: set ZHILU_TEST_MATERIAL"
)
