"""A media desk's bench: a real journal and spool with originals in them, the memory renderer, faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from agent.doorbells import Doorbells
from agent.errors import SandboxUnavailableError
from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts, StreamFacts
from agent.media.memory import MemoryRenderer
from agent.media.plan import RenditionPlan
from agent.media.port import OriginalFacts, RenderedFile, Renderer
from agent.media.progress import OnProgress
from agent.media_desk import MediaDesk, OpenRenderer
from agent.offload.testimony import Testimony
from agent.spool.directory import DirectorySpool
from agent.spool.files import Publication
from agent.spool.records import MediaJob, NewRow, OriginalRecord, Purpose, VisitRecord
from protocol import ed25519
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.statements import Media, Rendition, Statement, parse_statement
from tests.support.lossy_spool import PowerSwitch
from tests.support.visit_lab import (
    AGENCY,
    SEED,
    START,
    HonestSigner,
    SwitchedJournal,
    counted_ids,
    ticking_clock,
)

VIDEO, AUDIO, PHOTO, NOTE = b"a video", b"an audio", b"a photo", b"a note"
BAD_VIDEO = b"no video at all"
TYPES: Mapping[bytes, str] = {
    VIDEO: "video/mp4",
    AUDIO: "audio/wav",
    PHOTO: "image/jpeg",
    NOTE: "text/plain",
    BAD_VIDEO: "video/mp4",
}
FACTS: Mapping[bytes, OriginalFacts] = {
    VIDEO: MediaFacts(
        containers=("mov", "mp4"),
        duration_s=5.0004,
        creation_time=START,
        streams=(
            StreamFacts(index=0, kind="video", codec="h264", profile="High", pix_fmt="yuv420p",
                        width=640, height=360, duration_s=5.0),
            StreamFacts(index=1, kind="audio", codec="aac", profile="LC", channels=2, duration_s=5.0),
        ),
    ),
    AUDIO: MediaFacts(
        containers=("wav",), duration_s=2.5, streams=(StreamFacts(index=0, kind="audio", codec="pcm_s16le"),)
    ),
    PHOTO: ExifFacts(width=4000, height=3000, body_serial="SN 7"),
}  # fmt: skip
RECORDER = Claim("ZFY0001", "name")


class SwitchedSpool(DirectorySpool):
    """A spool on a machine whose power may go before or after a rendition is taken over."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.switch = PowerSwitch()

    def adopt(self, file: Path, purpose: Purpose, digest: Digest) -> None:
        self.switch.pass_through()
        super().adopt(file, purpose, digest)
        self.switch.pass_through()


@dataclass
class SwitchedRenderer:
    """The memory renderer on the same machine. In place of its next answers it raises what stands in ``probe_fails``
    and ``render_fails``."""

    switch: PowerSwitch = field(default_factory=PowerSwitch)
    probe_fails: list[BaseException] = field(default_factory=list)
    render_fails: list[BaseException] = field(default_factory=list)
    inner: MemoryRenderer = field(default_factory=lambda: MemoryRenderer(FACTS))

    async def facts(self, original: Path, media_type: str) -> OriginalFacts:
        self._step(self.probe_fails)
        found = await self.inner.facts(original, media_type)
        self.switch.pass_through()
        return found

    async def render(
        self,
        plan: RenditionPlan,
        original: Path,
        output_folder: Path,
        on_progress: OnProgress | None = None,
    ) -> RenderedFile:
        self._step(self.render_fails)
        made = await self.inner.render(plan, original, output_folder, on_progress)
        self.switch.pass_through()
        return made

    def _step(self, fails: list[BaseException]) -> None:
        self.switch.pass_through()
        if fails:
            raise fails.pop(0)


class MediaBench:
    """One station's journal, spool and renderer; ``restart`` is what happens after its process ended."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        self.folder = folder
        self.renderer = SwitchedRenderer()
        self.sandbox_missing = 0
        self._reserve_bytes = reserve_bytes
        self._starts = 0
        self._open()

    def _open(self) -> None:
        self._starts += 1
        self.spool = SwitchedSpool(self.folder / "spool")
        self.journal = SwitchedJournal(self.folder / "journal.db", self.spool, PowerSwitch())
        self.bells = Doorbells()
        testimony = Testimony(
            signer=HonestSigner(), clock=ticking_clock(), new_id=counted_ids(f"start {self._starts}")
        )
        (self.folder / "rendering").mkdir(exist_ok=True)
        opening: OpenRenderer = self.open_renderer
        self.desk = MediaDesk(
            journal=self.journal,
            open_renderer=opening,
            testimony=testimony,
            doorbells=self.bells,
            folder=self.folder / "rendering",
            zone=ZoneInfo("Asia/Shanghai"),
            reserve_bytes=self._reserve_bytes,
            pause_s=0.0,
        )

    async def open_renderer(self) -> Renderer:
        if self.sandbox_missing:
            self.sandbox_missing -= 1
            raise SandboxUnavailableError("no user namespaces here")
        return self.renderer

    def use_switch(self, switch: PowerSwitch) -> None:
        """One switch for the whole machine, from now on."""
        self.journal.switch = self.spool.switch = self.renderer.switch = switch

    def restart(self) -> None:
        self.journal.close()
        self.renderer.switch = PowerSwitch()
        self._open()

    def take_in(self, *contents: bytes) -> list[Digest]:
        """Originals in the spool, journalled with a media job each; their manifests."""
        inventory = self.journal.record_inventory(
            Envelope.sign(STATEMENT_TYPE, b"inventory", SEED),
            visit=VisitRecord(visit="0" * 32, dock="folder", bay="bay-1", generation="1", recorder_key="r",
                              profile="generic@1", agency=AGENCY, opened_at=START),
            sequence=1,
            listing=Digest.of(b"listing"),
            listing_size_bytes=7,
            rows=[
                NewRow(path=b"%d" % number, shown=str(number), size_bytes=len(content), modified_ns=1,
                       state="to_read", order=(0, number))
                for number, content in enumerate(contents)
            ],
            now=START,
        )  # fmt: skip
        return [self._read(inventory, content) for content in contents]

    def _read(self, inventory: Digest, content: bytes) -> Digest:
        digest = Digest.of(content)
        partial = self.spool.open_brief(digest.hex)
        partial.append(memoryview(bytearray(content)), len(content))
        partial.flush()
        partial.close()
        self.spool.publish([Publication(partial=digest.hex, purpose=Purpose.ORIGINAL, digest=digest)])
        row = self.journal.rows_to_read(inventory, 1)[0]
        record = OriginalRecord(
            row=row,
            envelope=Envelope.sign(STATEMENT_TYPE, b"manifest %d" % row.id.row, SEED),
            digest=digest,
            size_bytes=len(content),
            media_type=TYPES[content],
            marked=False,
            recorder=RECORDER,
        )
        return self.journal.record_original(record, START)

    def jobs(self) -> Sequence[MediaJob]:
        return self.journal.open_media_jobs(100)

    async def work_off(self) -> None:
        """Every open job once."""
        for job in self.jobs():
            await self.desk.work(job, self.renderer)

    async def run_until_done(self) -> None:
        """The desk's own loop, until nothing is left to do."""
        task = asyncio.create_task(self.desk.run(), name="media")
        try:
            async with asyncio.timeout(30):
                while self.jobs() and not task.done():
                    await asyncio.sleep(0)
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    def stated(self, manifest: Digest) -> list[Statement]:
        """What was signed about an original, signatures verified."""
        statements: list[Statement] = []
        for data in self.journal.media_statements(manifest):
            envelope = Envelope.from_bytes(data)
            envelope.verify(ed25519.public_from_seed(SEED), STATEMENT_TYPE)
            statements.append(parse_statement(envelope.payload))
        return statements

    def media(self, manifest: Digest) -> Media:
        """The media statement: exactly one."""
        (found,) = [statement for statement in self.stated(manifest) if isinstance(statement, Media)]
        return found

    def renditions(self, manifest: Digest) -> dict[str, Rendition]:
        """The rendition statements by kind: never two of a kind."""
        found = [statement for statement in self.stated(manifest) if isinstance(statement, Rendition)]
        by_kind = {rendition.rendition: rendition for rendition in found}
        assert len(by_kind) == len(found)
        return by_kind
