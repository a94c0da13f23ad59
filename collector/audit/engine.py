"""The audit as one function: log and statements in one pass, then objects, receipts and the conservation of clips.

What the log says is projected into a scratch catalogue of the audit's own, so that memory does not grow with the
log; the collector's catalogue is only compared with it.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.audit.listings import AuditedListings
from collector.audit.log_check import LogCheck, LogFiles
from collector.audit.object_check import ObjectCheck, choose, stored_promises
from collector.audit.objects import AuditedObjects, ObjectName
from collector.audit.receipt_check import ReceiptCheck
from collector.audit.report import AuditReport, Progress, Tally, no_progress
from collector.audit.statement_check import StatementCheck
from collector.catalogue import Catalogue, LoggedStatement
from collector.log.tile_files import LogMissingError
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import ProofError
from protocol.log_reading import LogCopy
from protocol.note import VerifierKey

_BATCH: Final = 1_000

LOG: Final = "log"
STATEMENTS: Final = "statements"
OBJECTS: Final = "objects"
RECEIPTS: Final = "receipts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What is audited. ``key`` is the log's public key, from outside where it matters."""

    log: LogFiles
    objects: AuditedObjects
    key: VerifierKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much of it. ``sample``: so many objects and receipts, chosen at random; None: all. ``since``: a checkpoint
    note up to which everything was audited before; the log must continue it."""

    sample: int | None = None
    since: bytes | None = None


def audit(
    audited: Audited,
    scope: Scope | None = None,
    *,
    progress: Progress = no_progress,
    clock: Callable[[], float] = time.perf_counter,
) -> AuditReport:
    """Check everything in ``scope``. Blocks. What is wrong is in the report; raises LogMissingError where there is
    no log, ProtocolError for a checkpoint that the key did not sign, and StorageError when nothing can be read."""
    run = _Run(audited, scope or Scope(), progress, clock)
    with run.scratch():
        run.read_log()
        run.check_objects()
        run.check_receipts()
    return run.report()


class _Run:
    def __init__(
        self, audited: Audited, scope: Scope, progress: Progress, clock: Callable[[], float]
    ) -> None:
        note = audited.log.checkpoint()
        if note is None:
            raise LogMissingError("the log has no checkpoint")
        self._audited = audited
        self._sample = scope.sample
        self._seed = secrets.token_bytes(16)
        self._progress = progress
        self._copy = LogCopy(note, audited.log.read)
        self._checkpoint = open_checkpoint(note, audited.key)
        self._earlier = None if scope.since is None else open_checkpoint(scope.since, audited.key)
        if self._earlier is not None and self._earlier.size > self._checkpoint.size:
            raise ProofError(f"the log ends at {self._checkpoint.size}, before the earlier checkpoint")
        self._tallies = {name: Tally(name, clock) for name in (LOG, STATEMENTS, OBJECTS, RECEIPTS)}
        self._catalogue: Catalogue | None = None

    @property
    def _since(self) -> int:
        return 0 if self._earlier is None else self._earlier.size

    @property
    def catalogue(self) -> Catalogue:
        assert self._catalogue is not None
        return self._catalogue

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """The audit's own catalogue while the body runs."""
        with tempfile.TemporaryDirectory(prefix="zhilu-audit-") as folder:
            listings = AuditedListings(self._audited.objects)
            self._catalogue = Catalogue.scratch(Path(folder) / "catalogue.sqlite", read_listing=listings)
            try:
                yield
            finally:
                self._catalogue.close()

    def read_log(self) -> None:
        """Log and statements, and the scratch catalogue from them."""
        check = LogCheck(self._copy, self._passed_through(), self._tallies[LOG])
        statements = StatementCheck(self._audited.objects, self._tallies[STATEMENTS], since=self._since)
        batch: list[LoggedStatement] = []
        for index, data in check.entries():
            logged = statements.take(index, data)
            if logged is None:
                break  # the rest has no meaning: what is derived from a log needs every entry before it
            batch.append(logged)
            if len(batch) == _BATCH:
                self.catalogue.apply(batch)
                batch.clear()
            self._progress("日志 log entries", index + 1, self._checkpoint.size)
        self.catalogue.apply(batch)

    def _passed_through(self) -> list[Checkpoint]:
        earlier = [] if self._earlier is None else [self._earlier]
        return [*earlier, self._checkpoint]

    def check_objects(self) -> None:
        """Everything in the store against everything promised."""
        with self._tallies[OBJECTS] as tally:
            check = ObjectCheck(self._audited.objects, self.catalogue, tally, progress=self._progress)
            check.check_stored(since=self._since)
            check.check_found(self._wanted(check))

    def _wanted(self, check: ObjectCheck) -> Callable[[ObjectName], bool]:
        if self._sample is None:
            return lambda _: True
        chosen = choose(map(str, check.names()), self._sample, self._seed)
        return lambda name: str(name) in chosen

    def check_receipts(self) -> None:
        """A receipt for everything stored."""
        with self._tallies[RECEIPTS] as tally:
            check = ReceiptCheck(
                self._copy,
                self._checkpoint,
                self._audited.key,
                objects=self._audited.objects,
                catalogue=self.catalogue,
                tally=tally,
                progress=self._progress,
            )
            promises = stored_promises(self.catalogue)
            if self._sample is not None:
                statements = (str(promise.statement) for promise in stored_promises(self.catalogue))
                chosen = choose(statements, self._sample, self._seed)
                promises = (promise for promise in promises if str(promise.statement) in chosen)
            check.check(promise for promise in promises if (promise.stored_index or 0) >= self._since)

    def report(self) -> AuditReport:
        return AuditReport(
            origin=self._checkpoint.origin,
            log_size=self._checkpoint.size,
            since=self._since,
            sampled=self._sample,
            sections=tuple(tally.section() for tally in self._tallies.values()),
        )
