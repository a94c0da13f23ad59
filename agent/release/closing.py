"""How intents end: with the signed ``released``, together with the inventory it speaks of. Blocking code.

What an erasing seemed to do counts for nothing here: a file is gone if the listing taken afterwards lacks it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from agent.core.release import (
    NOT_BEGUN,
    RecorderTraits,
    decide_kept,
    is_same_recorder,
)
from agent.offload.settings import VisitTools
from agent.spool.records import OpenIntent, VisitRecord
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Inventory, parse_statement

_LOG: Final = logging.getLogger(__name__)

Attempts = Mapping[int, str]
"""By row of an intent: ``ERASED``, or the code of what kept the file."""


def close_intent(
    intent: OpenIntent, visit: VisitRecord, inventory: Digest, attempts: Attempts, tools: VisitTools
) -> Mapping[int, str]:
    """Sign what became of an intent by this inventory, which was listed afterwards. Inside the transaction that keeps
    the inventory. Returns the rows that are still there and why. Raises JournalError."""
    kept: dict[int, str] = {}
    gone: list[Digest] = []
    for after in tools.journal.rows_after(intent.statement, inventory):
        code = decide_kept(attempts.get(after.row), after.found)
        if code is None:
            gone.append(after.manifest)
        else:
            kept[after.row] = code
    tools.journal.forget_reads(gone)
    _sign(intent, visit.visit, inventory, kept, tools)
    _LOG.info("released", extra={"visit": visit.visit, "gone": len(gone), "kept": len(kept)})
    return kept


def close_interrupted(
    visit: VisitRecord, inventory: Digest, *, traits: RecorderTraits, tools: VisitTools
) -> None:
    """By the first inventory of a visit, close what an earlier visit of the same recorder left open.

    Not within the same mount: what it lists was perhaps never written to the medium. A release round flushes first.
    """
    for intent in tools.journal.open_intents():
        if intent.generation == visit.generation or intent.outcome == "refused":
            continue
        if is_same_recorder(_traits_of(intent, tools), traits):
            close_intent(intent, visit, inventory, {}, tools)


def abandon_unbegun(visit: str, tools: VisitTools, code: str = NOT_BEGUN) -> None:
    """Close the intents of a visit under which nothing was erased and nothing will be: the inventory they name still
    tells what is on the recorder. Raises JournalError."""
    last = tools.journal.last_inventory(visit)
    with tools.journal.transaction():
        for intent in tools.journal.open_intents(visit):
            if intent.begun or last is None:
                continue
            rows = tools.journal.intent_rows(intent.statement, None)
            _sign(intent, visit, last[0], dict.fromkeys((row.row for row in rows), code), tools)


def close_refused(intent: OpenIntent, code: str, tools: VisitTools) -> None:
    """The collector did not admit the intent, so there is nothing to sign about it. Raises JournalError."""
    rows = tools.journal.intent_rows(intent.statement, None)
    kept = dict.fromkeys((row.row for row in rows), code)
    with tools.journal.transaction():
        tools.journal.close_intent(intent.statement, None, kept, tools.clock())


def _sign(
    intent: OpenIntent, visit: str, inventory: Digest, kept: Mapping[int, str], tools: VisitTools
) -> None:
    envelope = tools.testimony.released(intent, visit=visit, inventory_after=inventory, kept=kept)
    tools.journal.record_released(intent, envelope, kept=kept, now=tools.clock())


def _traits_of(intent: OpenIntent, tools: VisitTools) -> RecorderTraits:
    envelope = tools.journal.statement(intent.inventory)
    inventory = None if envelope is None else parse_statement(Envelope.from_bytes(envelope).payload)
    if not isinstance(inventory, Inventory):
        raise TypeError(f"{intent.inventory} is journalled as an inventory and is none")
    return RecorderTraits(
        key=intent.recorder_key, label=inventory.volume_label, total_bytes=inventory.total_bytes
    )
