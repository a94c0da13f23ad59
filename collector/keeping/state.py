"""The changing part of a collector as a backup holds it: settings, registers, checkpoint, CA, keys; and a note on it.

The private keys are those without which nobody can go on: the log's, the collector's own, the CA's. Certificates
that the CA can issue again are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from collector.config import CollectorConfig
from collector.keeping.errors import BackupUnusableError
from collector.keeping.stored_log import StoredLog
from collector.private_files import read_private
from protocol.canonical import Fields, parse_json
from protocol.errors import ProtocolError
from protocol.times import format_time

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "vkey"
REGISTERS: Final = "registers.sqlite"
SETTINGS: Final = "collector.toml"
CA: Final = "ca.pem"
SEALED: Final = "keys.sealed"
PLAIN: Final = "keys"
NOTE: Final = "backup.json"

PRIVATE_KEYS: Final = ("keys/log.key", "keys/statement.key", "tls/ca.key")
"""Relative to a collector's data directory."""

_MAX_NOTE_BYTES: Final = 4_194_304
_SHOWN_PROBLEMS: Final = 1000


class Keys(StrEnum):
    """How the private keys are in a backup."""

    NONE = "none"
    PLAIN = "plain"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupNote:
    """What a backup says of itself. ``problems`` are files of the collector that it could not take whole."""

    collector: str
    made_at: datetime
    entries: int
    root: str
    keys: Keys
    problems: tuple[str, ...]

    def to_bytes(self) -> bytes:
        values = {
            "version": 1,
            "collector": self.collector,
            "made_at": format_time(self.made_at),
            "entries": self.entries,
            "root": self.root,
            "keys": self.keys.value,
            "problems": self.problems[:_SHOWN_PROBLEMS],
        }
        return json.dumps(values, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises BackupUnusableError."""
        try:
            fields = Fields(parse_json(data, max_bytes=_MAX_NOTE_BYTES, what=NOTE), NOTE)
            fields.integer("version", minimum=1, maximum=1)
            return cls(
                collector=fields.text("collector"),
                made_at=fields.time("made_at"),
                entries=fields.integer("entries", minimum=1),
                root=fields.text("root"),
                keys=Keys(fields.one_of("keys", frozenset(Keys))),
                problems=tuple(map(str, fields.items("problems", max_items=_SHOWN_PROBLEMS))),
            )
        except ProtocolError as error:
            raise BackupUnusableError(f"the note of this backup cannot be read: {error}") from error


def note_of(
    config: CollectorConfig, log: StoredLog, made_at: datetime, keys: Keys, problems: tuple[str, ...]
) -> BackupNote:
    """The note for a backup of this log."""
    return BackupNote(
        collector=config.name,
        made_at=made_at,
        entries=log.checkpoint.size,
        root=log.checkpoint.root.hex(),
        keys=keys,
        problems=problems,
    )


def read_keys(data_dir: Path) -> Mapping[str, bytes]:
    """The private keys of a collector, by path. Raises KeyFileError."""
    return {name: read_private(data_dir / name) for name in PRIVATE_KEYS}
