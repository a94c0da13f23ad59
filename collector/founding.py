"""The founding of a collector: its keys, its CA, its settings and entry 0 of its log. Safe to repeat."""

from __future__ import annotations

import secrets
from datetime import datetime

from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.keys import CollectorKeys
from collector.log.tile_files import TileFiles, WriterLease
from collector.log.writer import LogWriter
from collector.objects import ObjectClass
from collector.objects.directory import DirectoryObjectStore
from protocol import ed25519
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.note import SignerKey, VerifierKey
from protocol.statements import Enrolled, Header, sign_statement


def open_log(config: CollectorConfig, keys: CollectorKeys) -> tuple[LogWriter, TileFiles]:
    """The log's writer, brought up to the stored checkpoint. The caller holds the lease."""
    files = TileFiles(config.log_dir, PosixFiles())
    signer = SignerKey(name=config.log_origin, seed=keys.log_seed)
    files.prepare(str(signer.verifier))
    writer = LogWriter(files, signer)
    writer.reload()
    return writer, files


async def found(config: CollectorConfig, now: datetime) -> VerifierKey:
    """Make what is missing; return the log's public key, to be handed to stations and auditors.

    Raises CollectorError, for example LogLockedError while a collector runs here.
    """
    config.data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    keys = CollectorKeys.create(config.keys_dir)
    config.trust.prepare(config.names, now)
    config.store()
    lease = WriterLease(config.log_dir)
    try:
        log, _ = open_log(config, keys)
        if log.checkpoint.size == 0:
            await _enrol_itself(config, keys, log, now)
        return log.key
    finally:
        lease.release()


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
