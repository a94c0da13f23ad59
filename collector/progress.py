"""How long work says how far it is: a callable, so that no room knows a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Step (what is counted, Chinese and English), done, total or None. Called often: it must be cheap."""


def in_silence(step: str, done: int, total: int | None) -> None:
    """For whoever has nobody to tell."""
