"""What came out of a demo run, read from the collector's catalogue and the station's receipts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agent.commands.receipts import write_receipts
from agent.config import AgentConfig
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from agent.spool.records import ClosedRelease
from collector.audit import DirectoryObjects
from collector.audit.listings import AuditedListings
from collector.catalogue import Catalogue, Clip, ClipFilter, ClipRendition
from collector.catalogue.accounting import InventoryAccount
from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.objects import ObjectClass
from protocol.checkpoint import open_checkpoint
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.lines import encode_base64
from protocol.note import VerifierKey
from protocol.statements import Released, parse_statement
from protocol.times import format_time

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """What the station's journal knows about erasing."""

    closed: Sequence[ClosedRelease]
    inventories_after: frozenset[Digest]
    gone: frozenset[Digest]

    @classmethod
    def read(cls, config: AgentConfig) -> Self:
        journal = Journal(config.journal_path, DirectorySpool(config.spool_dir))
        try:
            closed, gone = journal.closed_releases(), journal.released_manifests()
        finally:
            journal.close()
        after = (_released_by(release) for release in closed if release.gone)
        return cls(
            closed=closed,
            inventories_after=frozenset(said.inventory_after for said in after),
            gone=frozenset(gone),
        )

    def without_returned(self, clips: Sequence[Clip]) -> list[Clip]:
        """A demo that runs again docks once more what was erased: the same originals, each shown once."""
        erased: dict[tuple[object, ...], int] = {}
        for clip in clips:
            if clip.manifest in self.gone:
                erased[_file(clip)] = min(clip.entry_index, erased.get(_file(clip), clip.entry_index))
        return [clip for clip in clips if erased.get(_file(clip), clip.entry_index) >= clip.entry_index]


def _file(clip: Clip) -> tuple[object, ...]:
    return (clip.agency, clip.recorder, clip.path, clip.digest)


def _released_by(release: ClosedRelease) -> Released:
    statement = parse_statement(Envelope.from_bytes(release.released).payload)
    assert isinstance(statement, Released)
    return statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Reads the state of a finished run."""

    collector: CollectorConfig
    agent: AgentConfig

    def to_json(self) -> Mapping[str, Any]:
        """The documented shape of ``scripts/demo --json``."""
        self._write_receipts()
        releases = Releases.read(self.agent)
        listings = AuditedListings(DirectoryObjects(PosixFiles(), self.collector.objects_dir))
        catalogue = Catalogue.open(self.collector.catalogue_path, read_listing=listings)
        try:
            catalogue.catch_up()  # the collector may have been stopped between a receipt and what follows from it
            clips = releases.without_returned(list(_all_clips(catalogue)))
            visits = {clip.visit for clip in clips}
            return {
                "originals": [self._original(clip) for clip in clips],
                "inventory": _accounts(catalogue, visits, releases),
                "released": _released(catalogue, visits, releases),
                "checkpoint": self._checkpoint(),
                "log_dir": str(self.collector.log_dir),
                "data_dir": str(self.collector.data_dir.parent),
            }
        finally:
            catalogue.close()

    @property
    def receipts_dir(self) -> Path:
        """Where this run's receipts are written as single files."""
        return self.collector.data_dir.parent / "receipts"

    def _write_receipts(self) -> None:
        journal = Journal(self.agent.journal_path, DirectorySpool(self.agent.spool_dir))
        try:
            for _ in write_receipts(journal, self.receipts_dir):
                pass
        finally:
            journal.close()

    def _original(self, clip: Clip) -> Mapping[str, Any]:
        receipt = self.receipts_dir / f"{clip.manifest.hex}.json"
        path = self._object(clip.agency, ObjectClass.ORIGINALS, clip.digest)
        made = [rendition for rendition in clip.renditions if rendition.digest is not None]
        problems = dict.fromkeys(
            rendition.problem for rendition in clip.renditions if rendition.problem is not None
        )
        return {
            "name": clip.path,
            "sha256": clip.digest.hex,
            "size_bytes": clip.size_bytes,
            "media_type": clip.media_type,
            **_claim("recorder_id", clip.recorder),
            **_claim("officer_id", clip.officer),
            **_claim("started_at", clip.started_at),
            "stored_index": clip.stored_index,
            "receipt": str(receipt),
            "renditions": [self._rendition(clip.agency, rendition) for rendition in made],
            "not_rendered": "; ".join(problems) if problems else None,
            "verify": [
                str(path),
                "--receipt",
                str(receipt),
                "--log-key",
                str(self.collector.log_dir / "vkey"),
                "--log",
                str(self.collector.log_dir),
            ],
        }

    def _rendition(self, agency: str, rendition: ClipRendition) -> Mapping[str, Any]:
        assert rendition.digest is not None
        return {
            "kind": rendition.rendition,
            "sha256": rendition.digest.hex,
            "media_type": rendition.media_type,
            "path": str(self._object(agency, ObjectClass.RENDITIONS, rendition.digest)),
        }

    def _object(self, agency: str, cls: ObjectClass, digest: Digest) -> Path:
        name = digest.hex
        return self.collector.objects_dir / agency / cls.value / name[:2] / name[2:4] / name

    def _checkpoint(self) -> Mapping[str, Any]:
        key = VerifierKey.parse((self.collector.log_dir / "vkey").read_text().strip())
        checkpoint = open_checkpoint((self.collector.log_dir / "checkpoint").read_bytes(), key)
        return {
            "origin": checkpoint.origin,
            "tree_size": checkpoint.size,
            "root_hash": encode_base64(checkpoint.root),
        }


def _all_clips(catalogue: Catalogue) -> Iterator[Clip]:
    after = None
    while True:
        page = catalogue.clips(ClipFilter(agencies=None), limit=_PAGE, after=after)
        yield from page.clips
        if len(page.clips) < _PAGE:
            return
        after = page.clips[-1].position


def _accounts(catalogue: Catalogue, visits: set[str], releases: Releases) -> Mapping[str, int]:
    """The newest inventory of each visit before anything was erased: what was listed, and where it is now; and what is
    still on the recorders."""
    sums = dict.fromkeys(("listed", "stored", "pending", "unreadable", "excluded", "present_on_recorder"), 0)
    for inventories in _inventories(catalogue, visits):
        before = [found for found in inventories if found.statement not in releases.inventories_after]
        account = (before or inventories)[-1].accounting
        sums["listed"] += account.listed
        sums["stored"] += account.stored
        sums["pending"] += account.pending
        sums["unreadable"] += account.unreadable
        sums["excluded"] += account.excluded
        sums["present_on_recorder"] += inventories[-1].accounting.present
    return sums


def _released(catalogue: Catalogue, visits: set[str], releases: Releases) -> Mapping[str, Any]:
    """How many files were erased and kept at these visits, and every inventory taken afterwards."""
    return {
        "files": sum(closed.gone for closed in releases.closed if closed.visit in visits),
        "kept": sum(closed.kept for closed in releases.closed if closed.visit in visits),
        "inventories_after": [
            {
                "visit": visit,
                "sequence": found.sequence,
                "listed": found.accounting.listed,
                "present_on_recorder": found.accounting.present,
            }
            for visit in sorted(visits)
            for found in next(_inventories(catalogue, {visit}), ())
            if found.statement in releases.inventories_after
        ],
    }


def _inventories(catalogue: Catalogue, visits: Iterable[str]) -> Iterator[Sequence[InventoryAccount]]:
    for visit in visits:
        account = catalogue.visit(visit, None)
        if account is not None:
            yield account.inventories


def _claim(name: str, claim: Claim | TimeClaim | None) -> Mapping[str, str | None]:
    if claim is None:
        return {name: None, f"{name}_source": None}
    value = claim.value if isinstance(claim, Claim) else format_time(claim.value)
    return {name: value, f"{name}_source": claim.source}
