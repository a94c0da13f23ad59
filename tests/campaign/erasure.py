"""What a station must have at the moment it erases a file from a recorder."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from agent.config import AgentConfig
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.errors import ProtocolError
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.statements import (
    ReleaseIntent,
    parse_statement,
)
from protocol.verify import verify_receipt


def lacking_to_erase(config: AgentConfig, digest: Digest, log_key: VerifierKey) -> str | None:
    """What a station lacks at this moment to erase these bytes from a recorder; None when it has everything."""
    journal = sqlite3.connect(f"file:{config.journal_path}?mode=ro", uri=True)
    try:
        intents = journal.execute(
            "SELECT envelope FROM statements WHERE kind = 'release-intent' AND outcome = 'admitted'"
        ).fetchall()
        places = journal.execute(
            "SELECT receipt_file, receipt_offset, receipt_bytes FROM deliveries"
            " WHERE purpose = 'original' AND digest = ? AND receipt_file IS NOT NULL",
            (str(digest),),
        ).fetchall()
    finally:
        journal.close()
    named = (parse_statement(Envelope.from_bytes(envelope).payload) for (envelope,) in intents)
    if not any(
        item.digest == digest
        for intent in named
        if isinstance(intent, ReleaseIntent)
        for item in intent.items
    ):
        return "an admitted intent"
    if not any(_verifies(receipt_at(config, place), digest, log_key) for place in places):
        return "a receipt that verifies"
    return None


def receipt_at(config: AgentConfig, place: Sequence[int]) -> bytes:
    file = config.spool_dir / "receipts" / f"{place[0]:08d}.jsonl"
    return file.read_bytes()[place[1] : place[1] + place[2]] if file.exists() else b""


def _verifies(data: bytes, digest: Digest, log_key: VerifierKey) -> bool:
    try:
        receipt = Receipt.from_bytes(data)
        verify_receipt(receipt, log_key)
    except ProtocolError:
        return False
    return receipt.digest == digest
