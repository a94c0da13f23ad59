"""A story as files, the way an auditor is handed it: clip, receipt, log key, copy of the log, earlier checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.receipt import Receipt
from tests.support.evidence import EvidenceLog, Story


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFiles:
    """Paths of one handed-over story; ``log_key`` is the text of the vkey."""

    clip: Path
    receipt: Path
    log_key: str
    log: Path
    checkpoint: Path

    def arguments(self) -> list[str]:
        """Everything given: clip, receipt, log key, log and earlier checkpoint."""
        return [
            *self.bare_arguments(),
            "--log",
            str(self.log),
            "--checkpoint",
            str(self.checkpoint),
        ]

    def bare_arguments(self) -> list[str]:
        """Only what is always needed: clip, receipt and log key."""
        return [str(self.clip), "--receipt", str(self.receipt), "--log-key", self.log_key]


def write_story(folder: Path, story: Story, receipt: Receipt | None = None) -> EvidenceFiles:
    """Write the story's files below ``folder``; the checkpoint is the log's newest."""
    files = EvidenceFiles(
        clip=folder / "现场.mp4",
        receipt=folder / "receipt.json",
        log_key=str(story.log.log_key.verifier),
        log=write_log(folder / "log", story.log),
        checkpoint=folder / "checkpoint.earlier",
    )
    files.clip.write_bytes(story.content)
    files.receipt.write_bytes((receipt or story.receipt()).to_bytes())
    files.checkpoint.write_bytes(story.log.note)
    return files


def write_log(folder: Path, log: EvidenceLog) -> Path:
    """The log in the layout of C2SP tlog-tiles, with its vkey. Returns the folder."""
    for tile, data in log.tiles.items():
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "checkpoint").write_bytes(log.note)
    (folder / "vkey").write_text(f"{log.log_key.verifier}\n", encoding="utf-8")
    return folder
