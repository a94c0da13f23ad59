"""The audit as one function: log and statements in one pass, then objects, receipts and the conservation of clips.

What the log says is projected into a scratch catalogue of the audit's own, so that memory does not grow with the
log; the collector's catalogue is only compared with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from collector.audit.conservation_check import ClaimedFindings, report_findings
from collector.audit.listings import AuditedListings
from collector.audit.log_check import LogCheck, LogFiles
from collector.audit.object_check import ObjectCheck, choose, stored_promises
from collector.audit.objects import AuditedObjects, ObjectName
from collector.audit.receipt_check import ReceiptCheck
from collector.audit.report import AuditReport, Tally
from collector.audit.statement_check import StatementCheck
from collector.catalogue import Catalogue, LoggedStatement
from collector.log.tile_files import LogMissingError
from collector.progress import Progress, in_silence
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import ProofError
from protocol.log_reading import LogCopy
from protocol.note import VerifierKey

_BATCH: Final = 1_000

LOG: Final = "log"
STATEMENTS: Final = "statements"
OBJECTS: Final = "objects"
RECEIPTS: Final = "receipts"
CONSERVATION: Final = "conservation"
SECTIONS: Final = (LOG, STATEMENTS, OBJECTS, RECEIPTS, CONSERVATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What is audited. ``key`` is the log's public key, from outside where it matters; ``catalogue`` is only compared
    with what comes out."""

    log: LogFiles
    objects: AuditedObjects
    key: VerifierKey
    catalogue: Catalogue | None = None


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
    progress: Progress = in_silence,
    clock: Callable[[], float] = time.perf_counter,
) -> AuditReport:
    """Check everything in ``scope``. Blocks. What is wrong is in the report; raises LogMissingError where there is
    no log, ProtocolError for a checkpoint that the key did not sign, and StorageError when nothing can be read."""
    run = _Run(audited, scope or Scope(), progress, clock)
    with run:
        run.read_log()
        run.check_objects()
        run.check_receipts()
        run.check_conservation()
    return run.report()


class _Run:
    """One audit; a context that holds its temporary files."""

    def __init__(
        self, audited: Audited, scope: Scope, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._audited = audited
        self._sample = scope.sample
        self._seed = secrets.token_bytes(16)
        self._progress = progress
        self._tallies = {name: Tally(name, clock) for name in SECTIONS}
        self._resources = ExitStack()
        folder = Path(self._resources.enter_context(TemporaryDirectory(prefix="zhilu-audit-")))
        try:
            # before the log is looked at: then the log has everything the catalogue shows
            self._claims = ClaimedFindings.take(audited.catalogue, folder / "claimed")
            self._copy, self._checkpoint, self._earlier = _open_log(audited, scope)
            listings = AuditedListings(audited.objects)
            self.catalogue = Catalogue.scratch(folder / "catalogue.sqlite", read_listing=listings)
        except BaseException:
            self._resources.close()
            raise
        self._resources.callback(self.catalogue.close)

    def __enter__(self) -> None:
        """Nothing more to do."""

    def __exit__(self, *exc_info: object) -> None:
        self._resources.close()

    @property
    def _since(self) -> int:
        return 0 if self._earlier is None else self._earlier.size

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
            if len(batch) == _BATCH or index + 1 == self._claims.size:
                self._apply(batch)
                batch.clear()
            self._progress("日志 log entries", index + 1, self._checkpoint.size)
        self._apply(batch)

    def _apply(self, batch: list[LoggedStatement]) -> None:
        with self._tallies[CONSERVATION] as tally:
            self.catalogue.apply(batch)
            if self.catalogue.projected_size() == self._claims.size:
                self._claims.compare(self.catalogue, tally)

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

    def check_conservation(self) -> None:
        """What log and objects say of the conservation of clips."""
        with self._tallies[CONSERVATION] as tally:
            if self._claims.trouble is not None:
                tally.problem("catalogue-unreadable", "catalogue", self._claims.trouble)
            if self._claims.size > self._checkpoint.size:
                detail = (
                    f"the catalogue shows {self._claims.size} entries, the log has {self._checkpoint.size}"
                )
                tally.problem("log-rolled-back", "catalogue", detail)
            report_findings(self.catalogue, tally, self._progress)

    def report(self) -> AuditReport:
        return AuditReport(
            origin=self._checkpoint.origin,
            log_size=self._checkpoint.size,
            since=self._since,
            sampled=self._sample,
            sections=tuple(tally.section() for tally in self._tallies.values()),
        )


def _open_log(audited: Audited, scope: Scope) -> tuple[LogCopy, Checkpoint, Checkpoint | None]:
    note = audited.log.checkpoint()
    if note is None:
        raise LogMissingError("the log has no checkpoint")
    newest = open_checkpoint(note, audited.key)
    earlier = None if scope.since is None else open_checkpoint(scope.since, audited.key)
    if earlier is not None and earlier.size > newest.size:
        raise ProofError(f"the log ends at {newest.size}, before the earlier checkpoint of {earlier.size}")
    return LogCopy(note, audited.log.read), newest, earlier
