"""What came out of a demo run, read from the collector's catalogue and the station's receipts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.commands.receipts import write_receipts
from agent.config import AgentConfig
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from collector.audit import DirectoryObjects
from collector.audit.listings import AuditedListings
from collector.catalogue import Catalogue, Clip, ClipFilter, ClipRendition
from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.objects import ObjectClass
from protocol.checkpoint import open_checkpoint
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.lines import encode_base64
from protocol.note import VerifierKey
from protocol.times import format_time

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Reads the state of a finished run."""

    collector: CollectorConfig
    agent: AgentConfig

    def to_json(self) -> Mapping[str, Any]:
        """The documented shape of ``scripts/demo --json``."""
        self._write_receipts()
        listings = AuditedListings(DirectoryObjects(PosixFiles(), self.collector.objects_dir))
        catalogue = Catalogue.open(self.collector.catalogue_path, read_listing=listings)
        try:
            catalogue.catch_up()  # the collector may have been stopped between a receipt and what follows from it
            clips = list(_all_clips(catalogue))
            return {
                "originals": [self._original(clip) for clip in clips],
                "inventory": _accounts(catalogue, {clip.visit for clip in clips}),
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


def _accounts(catalogue: Catalogue, visits: set[str]) -> Mapping[str, int]:
    """The newest inventory of each visit: what was listed, and where it is now."""
    sums = dict.fromkeys(("listed", "stored", "pending", "unreadable", "excluded", "present_on_recorder"), 0)
    for visit in visits:
        account = catalogue.visit(visit, None)
        if account is None:
            continue
        newest = account.inventories[-1].accounting
        sums["listed"] += newest.listed
        sums["stored"] += newest.stored
        sums["pending"] += newest.pending
        sums["unreadable"] += newest.unreadable
        sums["excluded"] += newest.excluded
        sums["present_on_recorder"] += newest.present
    return sums


def _claim(name: str, claim: Claim | TimeClaim | None) -> Mapping[str, str | None]:
    if claim is None:
        return {name: None, f"{name}_source": None}
    value = claim.value if isinstance(claim, Claim) else format_time(claim.value)
    return {name: value, f"{name}_source": claim.source}
