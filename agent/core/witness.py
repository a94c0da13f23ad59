"""Does a checkpoint fit what this station has seen of the log? Pure; the proof is fetched and judged elsewhere.

Every station is a witness (见证): a log that shows two stations, or one station at two times, different pasts has to
give two signatures that cannot both be true, and those are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocol.checkpoint import Checkpoint


class Relation(StrEnum):
    """What has to hold for a new checkpoint to fit."""

    FITS = "fits"
    """Nothing is left to prove."""
    CONTRADICTS = "contradicts"
    """One size, two roots: nothing can explain that."""
    PROVE = "prove"
    """The larger of the two must be proven to extend the smaller."""


@dataclass(frozen=True, slots=True)
class Question:
    """How two checkpoints of one log relate; for PROVE, ``smaller`` and ``larger`` are in that order."""

    relation: Relation
    smaller: Checkpoint
    larger: Checkpoint


def compare_checkpoints(seen: Checkpoint, offered: Checkpoint) -> Question:
    """``seen`` was verified before; ``offered`` has a good signature and nothing more."""
    smaller, larger = (seen, offered) if seen.size <= offered.size else (offered, seen)
    if smaller.size == larger.size:
        same = smaller.root == larger.root
        return Question(Relation.FITS if same else Relation.CONTRADICTS, smaller, larger)
    if smaller.size == 0:
        return Question(Relation.FITS, smaller, larger)
    return Question(Relation.PROVE, smaller, larger)
