"""The judge: knows what was on every recorder, reads what is left on every disk, and believes nobody.

The log is recomputed, every payload found by its digest, every signature verified, every stored object hashed, every
receipt put through the verifier's whole procedure, and every file of every recorder looked for.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from agent.config import AgentConfig
from collector.audit import Audited, DirectoryObjects, audit
from collector.config import CollectorConfig
from collector.core import findings
from collector.files import PosixFiles
from collector.log.tile_files import TileFiles
from protocol.checkpoint import open_checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import ProtocolError
from protocol.listing import ListingRow, RowState
from protocol.log_reading import check_entries
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.statements import (
    Custody,
    Inventory,
    Manifest,
    ReleaseIntent,
    Stored,
    parse_statement,
)
from protocol.verify import Content, accepted, check_receipt
from tests.campaign.erasure import receipt_at
from tests.campaign.patches import scratch_kept
from tests.campaign.plan import Kind
from tests.campaign.recorders import Recorder, Version
from tests.campaign.template import AGENCY
from tests.campaign.view import ALTERED, LOST, RELEASED, UNEXPLAINED, CollectorView, Said, Violation

_LEAVING: Final = frozenset({Kind.EARLY_PULL, Kind.PULLED_AT_RELEASE, Kind.POWER_CUT})
_KEEPS_FILES: Final = frozenset({Kind.RECEIPT_DAMAGED, Kind.VOLUME_LOCKED})
"""What makes a release wait for a person: until then everything stays on the recorder."""

_OTHER_FILE: Final = frozenset({Kind.FILE_GROWS, Kind.FILE_REPLACED})

EXPLAINS: Final[Mapping[str, frozenset[Kind]]] = {
    findings.CLOCK_JUMP: frozenset({Kind.CLOCK}),
    findings.IMPLAUSIBLE_TIME: frozenset({Kind.CLOCK}),
    findings.UNDELIVERED: frozenset({Kind.CLOCK}),
    findings.LEFT_UNREAD: _LEAVING,
    findings.RELEASE_UNCONFIRMED: _LEAVING,
    findings.ERASED_BUT_BACK: _LEAVING,
    findings.GONE_WITHOUT_RELEASE: _OTHER_FILE,
}
"""Findings of the audit that are the right answer to what was done; every other one is a violation."""


class Judge:
    """``truth`` is every version of every file; ``strained`` the paths whose reading was made to fail."""

    def __init__(
        self,
        *,
        collector: CollectorConfig,
        stations: Sequence[AgentConfig],
        log_key: VerifierKey,
        recorders: Sequence[Recorder],
        struck: Collection[Kind],
    ) -> None:
        self._struck = frozenset(struck)
        self._config = collector
        self._view = CollectorView(collector, log_key)
        self._stations = stations
        self._log_key = log_key
        self._recorders = recorders
        self._receipted: dict[int, LogEntry] = {}
        self._notes: set[bytes] = set()

    def violations(self) -> list[Violation]:
        """All of them; none is what is hoped for."""
        return [
            *self._view.problems,
            *self._check_once(),
            *self._check_stored(),
            *self._check_manifests(),
            *self._check_journals(),
            *self._check_recorders(),
            *self._check_released(),
            *self._check_audit(),
        ]

    def _check_once(self) -> Iterator[Violation]:
        for statement, count in Counter(said.id for said in self._view.said).items():
            if count > 1:
                yield Violation(
                    UNEXPLAINED, f"statement {statement.hex[:12]} stands in the log {count} times"
                )

    def _check_stored(self) -> Iterator[Violation]:
        promises = self._view.promises()
        answered: set[Digest] = set()
        for said in self._view.said:
            if isinstance(said.statement, Stored):
                promise = promises.get(said.statement.statement)
                if promise is None or promise[2] != said.statement.digest:
                    yield Violation(UNEXPLAINED, f"stored at {said.index} answers no promise")
                elif said.statement.statement in answered:
                    yield Violation(UNEXPLAINED, f"stored at {said.index} answers a promise once more")
                elif self._view.object(promise[0], promise[1], promise[2]) is None:
                    yield Violation(
                        LOST, f"{promise[1]} {promise[2].hex[:12]} is stored at {said.index} and not there"
                    )
                answered.add(said.statement.statement)
        for statement in promises.keys() - answered:
            yield Violation(
                UNEXPLAINED, f"promised and never stored: {promises[statement][1]} {statement.hex[:12]}"
            )

    def _check_manifests(self) -> Iterator[Violation]:
        known = {(v.path, Digest.of(v.content), len(v.content)) for r in self._recorders for v in r.truth}
        seen: set[tuple[Digest, int]] = set()
        for said in self._view.said:
            if isinstance(said.statement, Manifest):
                manifest = said.statement
                path = manifest.path_bytes if manifest.path_bytes is not None else manifest.path.encode()
                if (path, manifest.digest, manifest.size_bytes) not in known:
                    yield Violation(ALTERED, f"manifest at {said.index}: {path!r} never had these bytes")
                if (manifest.inventory, manifest.row) in seen:
                    yield Violation(UNEXPLAINED, f"two manifests for one row, the second at {said.index}")
                seen.add((manifest.inventory, manifest.row))

    # --- stations ----------------------------------------------------------------------------------------------

    def _check_journals(self) -> Iterator[Violation]:
        index_of = {said.id: said.index for said in self._view.said}
        for config in self._stations:
            with sqlite3.connect(f"file:{config.journal_path}?mode=ro", uri=True) as journal:
                yield from self._check_statements(journal, index_of)
                yield from self._check_deliveries(journal, config)
            journal.close()

    def _check_statements(
        self, journal: sqlite3.Connection, index_of: dict[Digest, int]
    ) -> Iterator[Violation]:
        rows = journal.execute("SELECT statement, kind, outcome, log_index, code FROM statements").fetchall()
        for statement, kind, outcome, index, code in rows:
            if outcome == "refused":
                yield Violation(UNEXPLAINED, f"a {kind} was refused: {code}")
            elif outcome is None:
                yield Violation(UNEXPLAINED, f"a {kind} was never answered")
            elif index_of.get(Digest.parse(statement)) != index:
                yield Violation(LOST, f"a {kind} was admitted at {index} and is not there")

    def _check_deliveries(self, journal: sqlite3.Connection, config: AgentConfig) -> Iterator[Violation]:
        for statement, purpose, digest, size, *place in journal.execute(
            "SELECT statement, purpose, digest, size_bytes, receipt_file, receipt_offset, receipt_bytes"
            " FROM deliveries"
        ).fetchall():
            name = f"receipt {statement[7:19]} for a {purpose}"
            if place[0] is None:
                yield Violation(UNEXPLAINED, f"{name} never came")
                continue
            data = receipt_at(config, place)
            if len(data) != place[2] and Kind.RECEIPT_DAMAGED not in self._struck:
                yield Violation(LOST, name)
            else:
                yield from self._check_receipt(name, data, Digest.parse(digest), size)
        yield from self._check_history(journal)

    def _check_receipt(self, name: str, receipt: bytes, digest: Digest, size: int) -> Iterator[Violation]:
        content = Content(digest=digest, size_bytes=size)
        checks = check_receipt(receipt, self._log_key, content=content)
        if not accepted(checks):
            if Kind.RECEIPT_DAMAGED in self._struck:
                return  # that was the fault
            failed = next(check for check in checks if check.outcome == "failed")
            yield Violation(UNEXPLAINED, f"{name}: {failed.name} {failed.code} {failed.detail}")
            return
        for item in Receipt.from_bytes(receipt).items:
            statement = parse_statement(item.envelope.payload)
            self._receipted[item.proof.index] = LogEntry.of(item.envelope, statement)
            self._notes.add(item.proof.checkpoint_note)

    def _check_history(self, journal: sqlite3.Connection) -> Iterator[Violation]:
        """The log continues every log that any receipt was made under, or that the station has seen, and holds
        every entry that any receipt proves: steps 7 and 9 of the procedure, for all receipts in one reading."""
        self._notes.update(note for (note,) in journal.execute("SELECT note FROM last_checkpoint"))
        self._notes.add(self._view.copy.checkpoint)
        try:
            check_entries(
                self._view.copy,
                [open_checkpoint(note, self._log_key) for note in self._notes],
                {index: entry.to_bytes() for index, entry in self._receipted.items()},
            )
        except (ProtocolError, OSError) as error:
            yield Violation(ALTERED, f"the log does not continue what was seen of it: {error!r}")

    # --- release -----------------------------------------------------------------------------------------------

    def _check_released(self) -> Iterator[Violation]:
        """Whatever was ever erased from a recorder is whole in the store, announced, and accounted for."""
        announced: set[Digest] = set()
        stored: set[Digest] = set()
        for said in self._view.said:
            if isinstance(said.statement, ReleaseIntent):
                announced.update(item.digest for item in said.statement.items)
            elif isinstance(said.statement, Stored):
                stored.add(said.statement.digest)
        for recorder in self._recorders:
            for version in recorder.erased:
                digest, names = Digest.of(version.content), f"{recorder.name} {version.path!r}"
                if digest not in announced:
                    yield Violation(RELEASED, f"{names} was erased and never announced")
                if digest not in stored:
                    yield Violation(RELEASED, f"{names} was erased and never stored")
                elif self._view.object(AGENCY, "originals", digest) is None:
                    yield Violation(LOST, f"{names} was erased and is not in the store")

    def _check_audit(self) -> Iterator[Violation]:
        """The product's own audit has to agree."""
        files = PosixFiles()
        audited = Audited(
            log=TileFiles(self._config.log_dir, files),
            objects=DirectoryObjects(files, self._config.objects_dir),
            key=self._log_key,
        )
        with scratch_kept(self._config.data_dir.parent):
            report = audit(audited)
        for problem in report.problems:
            if self._struck.isdisjoint(EXPLAINS.get(problem.code, ())):
                yield Violation(UNEXPLAINED, f"audit: {problem.code} {problem.where} {problem.detail}")

    # --- recorders ---------------------------------------------------------------------------------------------

    def _newest_inventories(self) -> dict[tuple[str, str], tuple[Said, Inventory]]:
        """By station and bay. Newest is what the station said last: on the way to the log, statements may overtake
        each other."""
        spoken_at: dict[Digest, int] = {}
        for config in self._stations:
            with sqlite3.connect(f"file:{config.journal_path}?mode=ro", uri=True) as journal:
                rows = journal.execute("SELECT statement, seq FROM statements").fetchall()
            journal.close()
            spoken_at.update((Digest.parse(statement), seq) for statement, seq in rows)
        return {
            (said.statement.header.signer, said.statement.bay): (said, said.statement)
            for said in sorted(self._view.said, key=lambda said: spoken_at.get(said.id, 0))
            if isinstance(said.statement, Inventory)
        }

    def _check_recorders(self) -> Iterator[Violation]:
        newest = self._newest_inventories()
        for recorder in self._recorders:
            if recorder.place is None:
                yield Violation(UNEXPLAINED, f"{recorder.name} is nowhere")
            elif recorder.place not in newest:
                yield Violation(LOST, f"{recorder.name} was never listed")
            else:
                yield from self._check_recorder(recorder, *newest[recorder.place])

    def _check_recorder(self, recorder: Recorder, said: Said, inventory: Inventory) -> Iterator[Violation]:
        rows = {row.raw_path: (number, row) for number, row in enumerate(self._view.rows(said, inventory))}
        there = {version.path: version for version in recorder.current()}
        for path in there.keys() - rows.keys():
            yield Violation(LOST, f"{recorder.name} {path!r} is not listed")
        for path in there.keys() & rows.keys():
            yield from self._check_row(recorder, there[path], said, *rows[path])

    def _check_row(
        self, recorder: Recorder, version: Version, said: Said, number: int, row: ListingRow
    ) -> Iterator[Violation]:
        wanted = Digest.of(version.content)
        names = f"{recorder.name} {version.path!r}"
        if row.size_bytes != len(version.content):
            yield Violation(UNEXPLAINED, f"{names} is listed with another size")
            return
        manifests = list(self._manifests_for(said, number, row))
        if any(manifest.digest == wanted for manifest in manifests):
            if self._view.object(said.agency, "originals", wanted) is None:
                yield Violation(LOST, names)
        elif manifests:
            if not self._waits_for_release(recorder, version):
                yield Violation(ALTERED, f"{names} is recorded with other bytes")
        elif not self._is_excused(recorder, version, said, number, row):
            yield Violation(LOST, f"{names} is listed as {row.state.value} and was never recorded")

    def _manifests_for(self, said: Said, number: int, row: ListingRow) -> Iterable[Manifest]:
        for other in self._view.said:
            if isinstance(other.statement, Manifest):
                manifest = other.statement
                is_row = (manifest.inventory, manifest.row) == (said.id, number)
                if is_row or (row.state is RowState.KNOWN and other.id == row.manifest):
                    yield manifest

    def _waits_for_release(self, recorder: Recorder, version: Version) -> bool:
        """What looks like the file before it in every respect is read again before it is erased, and not earlier."""
        return version.path in recorder.alike and not self._struck.isdisjoint(_KEEPS_FILES)

    def _is_excused(
        self, recorder: Recorder, version: Version, said: Said, number: int, row: ListingRow
    ) -> bool:
        """Signed as unreadable, and reading it was indeed made to fail."""
        signed = any(
            isinstance(other.statement, Custody)
            and other.statement.item == said.id
            and other.statement.details.get("row") == number
            for other in self._view.said
        )
        return signed and version.path in recorder.strained
