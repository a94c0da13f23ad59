"""Whether a log that came from a backup may be written again (续写). Pure.

A log that goes on from an older state puts other entries where lost ones were: two histories under one key, which
every station and auditor who saw the lost part refuses for ever. Nobody can know from the backup alone that there
was nothing newer, so somebody has to bring the newest checkpoint that is known, or to take it upon himself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from protocol.checkpoint import Checkpoint


class Decision(StrEnum):
    """Why it may be written: nothing newer is known to those who were asked, or a person decided it all the same."""

    NEWEST_KNOWN = "newest-known"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """It may be written; ``newest_seen`` is the size of the newest checkpoint shown, None where none was."""

    decision: Decision
    newest_seen: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """It must not be written yet; one sentence for the administrator."""

    reason: str


def decide_continuation(
    restored: Checkpoint, seen: Sequence[Checkpoint], *, even_if_older: bool
) -> Continue | Hold:
    """``seen`` are checkpoints of the same log, proven to agree with the restored one as far as it goes."""
    newest = max((checkpoint.size for checkpoint in seen), default=None)
    if newest is not None and newest <= restored.size:
        return Continue(decision=Decision.NEWEST_KNOWN, newest_seen=newest)
    if even_if_older:
        return Continue(decision=Decision.OPERATOR, newest_seen=newest)
    if newest is None:
        return Hold(
            reason=f"it has {restored.size} entries, and nobody has shown that this is all there ever was: give the "
            "newest checkpoint that a station, an auditor or the old machine has (--seen)"
        )
    return Hold(
        reason=f"it has {restored.size} entries, but {newest} were seen: going on would sign a second history. Use it "
        "for reading and proof, and found a new collector for what comes"
    )
