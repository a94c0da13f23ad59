"""One round of release: all admitted intents of a visit, under one writable mount and one fresh inventory.

The order is the rule (I6): intents admitted, "begun" journalled, each file checked and erased, everything flushed, the
volume read-only again, listed anew, and that inventory recorded together with what became of each intent. Blocking
code for threads; whatever ends it early leaves intents that are still open, and the next round goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.release import DIGEST_DIFFERS, ERASED, PASSING, is_same_volume
from agent.offload.inventory import Taken, take_inventory_after
from agent.offload.settings import VisitTools
from agent.ports import RecorderVolume
from agent.release.closing import Attempts, close_intent
from agent.release.erasing import Doomed, Eraser
from agent.release.proofs import Proofs
from agent.spool.records import IntentRow, OpenIntent, VisitRecord
from agent.volumes.errors import ErasureUnsureError, VolumeReplacedError
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import ReleaseIntent, parse_statement

_FORGET: Final = frozenset({ERASED, DIGEST_DIFFERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The inventory taken after the erasing, and what could not be erased: the codes by manifest."""

    taken: Taken
    kept: Mapping[Digest, str]

    @property
    def troubles(self) -> Mapping[Digest, str]:
        """What a person has to look after."""
        return {manifest: code for manifest, code in self.kept.items() if code not in PASSING}


def run_round(
    volume: RecorderVolume,
    taken: Taken,
    intents: Sequence[OpenIntent],
    *,
    tools: VisitTools,
    proofs: Proofs,
    session: str,
    stop: threading.Event,
) -> Outcome:
    """Erase what these admitted intents name and close them. Intents of other visits are only closed.

    Raises the errors of ``RecorderVolume`` and ``open_for_release``, VolumeReplacedError, ReleaseStoppedError,
    SpoolError, JournalError.
    """
    own = [intent for intent in intents if intent.visit == taken.visit.visit]
    rows = {intent.statement: tools.journal.intent_rows(intent.statement, session) for intent in intents}
    attempts: dict[Digest, Attempts] = {}
    try:
        listed = volume.identify()
        with volume.open_for_release() as opened:
            if not is_same_volume(listed, opened.identify()):
                raise VolumeReplacedError("opened for release, the volume shows itself as another one")
            tools.journal.note_release_begun([intent.statement for intent in own], tools.clock())
            eraser = Eraser(opened, proofs, stop)
            for intent in own:
                attempts[intent.statement] = eraser.erase(_doomed(intent, rows[intent.statement]))
    except ErasureUnsureError:
        tools.journal.note_release_unsure([intent.statement for intent in intents], tools.clock())
        raise
    _forget(attempts, rows, tools)
    kept: dict[Digest, str] = {}

    def close_all(visit: VisitRecord, inventory: Digest) -> None:
        for intent in intents:
            still_there = close_intent(intent, visit, inventory, attempts.get(intent.statement, {}), tools)
            kept.update(
                {
                    row.manifest: still_there[row.row]
                    for row in rows[intent.statement]
                    if row.row in still_there
                }
            )

    after = take_inventory_after(volume, tools, taken, close_all)
    return Outcome(taken=after, kept=kept)


def _doomed(intent: OpenIntent, rows: Sequence[IntentRow]) -> list[Doomed]:
    """What was signed decides what is erased; the journal only knows where it lies."""
    statement = parse_statement(Envelope.from_bytes(intent.envelope).payload)
    if not isinstance(statement, ReleaseIntent):
        raise TypeError(f"{intent.statement} is journalled as a release intent and is none")
    by_row = {row.row: row for row in rows}
    return [Doomed(item=item, row=by_row[item.row]) for item in statement.items]


def _forget(
    attempts: Mapping[Digest, Attempts], rows: Mapping[Digest, Sequence[IntentRow]], tools: VisitTools
) -> None:
    """Before the volume is listed: what lies in the place of an erased file is a new file, whatever it looks like."""
    tools.journal.forget_reads(
        row.manifest
        for intent, codes in attempts.items()
        for row in rows[intent]
        if codes.get(row.row) in _FORGET
    )
