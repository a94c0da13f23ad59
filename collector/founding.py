"""The founding of a collector: its keys, its CA, entry 0 of its log and, last, its settings. Safe to repeat.

The settings say that the rest is complete. What they vouch for is never made anew: a collector whose keys or
checkpoint are gone must have them back from a backup, or it would begin a second log in the first one's name.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime

from collector.config import CollectorConfig
from collector.errors import CollectorError
from collector.files import PosixFiles
from collector.keys import CollectorKeys
from collector.log.tile_files import LogMissingError, TileFiles, WriterLease
from collector.log.writer import LogWriter
from collector.objects import ObjectClass
from collector.objects.directory import DirectoryObjectStore
from protocol import ed25519
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.note import SignerKey, VerifierKey
from protocol.statements import Enrolled, Header, sign_statement


class StatementKeyError(CollectorError):
    """The statement key on disk is not this log's: put back the keys that belong to the log."""

    code = "statement-key-changed"


def open_log(config: CollectorConfig, keys: CollectorKeys) -> tuple[LogWriter, TileFiles]:
    """The writer of a founded collector's log, brought up to the stored checkpoint. The caller holds the lease.

    Raises LogMissingError without a checkpoint, LogKeyError or StatementKeyError for other keys than the log's.
    """
    writer, files = _open(config, keys)
    if writer.checkpoint.size == 0:
        raise LogMissingError(f"the log in {config.log_dir} has no checkpoint: restore it from a backup")
    _check_statement_key(writer, keys)
    files.sweep_partials(writer.checkpoint.size)
    return writer, files


async def found(config: CollectorConfig, now: datetime) -> VerifierKey:
    """Make what is missing; return the log's public key, to be handed to stations and auditors.

    Raises CollectorError, for example LogLockedError while a collector runs here.
    """
    await asyncio.to_thread(PosixFiles().make_folder, config.data_dir)
    lease = WriterLease(config.log_dir)
    try:
        is_founded = config.path.exists()
        keys = (CollectorKeys.load if is_founded else CollectorKeys.create)(config.keys_dir)
        log, _ = (open_log if is_founded else _open)(config, keys)
        if log.checkpoint.size == 0:
            await _enrol_itself(config, keys, log, now)
        config.trust.prepare(config.names, now)
        config.store()
        return log.key
    finally:
        lease.release()


def _open(config: CollectorConfig, keys: CollectorKeys) -> tuple[LogWriter, TileFiles]:
    files = TileFiles(config.log_dir, PosixFiles())
    signer = SignerKey(name=config.log_origin, seed=keys.log_seed)
    files.prepare(str(signer.verifier))
    writer = LogWriter(files, signer)
    writer.reload()
    return writer, files


def _check_statement_key(log: LogWriter, keys: CollectorKeys) -> None:
    """With another key everything the collector says would be refused by its own log, and by every station."""
    ((_, data),) = log.entries(0, 1)
    if LogEntry.from_bytes(data).key_id != ed25519.key_id(ed25519.public_from_seed(keys.statement_seed)):
        raise StatementKeyError("the statement key is not the one that the log's first entry enrols")


async def _enrol_itself(config: CollectorConfig, keys: CollectorKeys, log: LogWriter, now: datetime) -> None:
    statement = Enrolled(
        header=Header(agency=COLLECTOR, signer=COLLECTOR, issued_at=now, nonce=secrets.token_hex(16)),
        role="collector",
        name=COLLECTOR,
        public_key=ed25519.public_from_seed(keys.statement_seed),
    )
    envelope = sign_statement(statement, keys.statement_seed)
    objects = DirectoryObjectStore(PosixFiles(), config.objects_dir)
    await objects.put_bytes(COLLECTOR, ObjectClass.STATEMENTS, envelope.payload)
    log.append([LogEntry.of(envelope, statement).to_bytes()])
