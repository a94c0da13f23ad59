"""The station as a witness: no checkpoint is accepted that does not fit all accepted before (一致性).

A contradiction is kept as evidence, both signed notes in a file of their own, and from then on nothing is accepted
until a person has looked and removed the folder: whoever signed both can no longer deny it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn, Protocol

from agent.core.witness import Question, Relation, compare_checkpoints
from agent.spool.journal import Journal
from agent.uplink.errors import CollectorProblemError, LogUnprovenError
from agent.uplink.state import Clock, UplinkState
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import ForkError, ProofError
from protocol.merkle import verify_consistency
from protocol.note import VerifierKey
from protocol.times import format_time

MAX_REMEMBERED: Final = 512
"""Recent checkpoints by size: receipts of one batch share theirs, and need no second proof."""

_PROOF_ATTEMPTS: Final = 2
"""A proof that does not check out is fetched once more before it counts as a contradiction."""

_log = logging.getLogger(__name__)


class ProofSource(Protocol):
    """Where consistency proofs come from: the collector's HTTP interface."""

    async def fetch_consistency(self, old_size: int, new_size: int) -> list[bytes]: ...


class LogWatch:
    """Checks every checkpoint against the newest accepted one. One per station, used by all loops."""

    def __init__(
        self,
        *,
        journal: Journal,
        proofs: ProofSource,
        log_key: VerifierKey,
        evidence: Path,
        state: UplinkState,
        now: Clock,
    ) -> None:
        """``evidence`` is the folder for contradictions; one that holds any keeps the watch halted."""
        self._journal = journal
        self._proofs = proofs
        self._log_key = log_key
        self._evidence = evidence
        self._state = state
        self._now = now
        self._lock = asyncio.Lock()
        self._remembered: OrderedDict[int, tuple[Checkpoint, bytes]] = OrderedDict()
        self._newest: tuple[Checkpoint, bytes] | None = None
        self._loaded = False
        self.on_halt: Callable[[], None] = lambda: None
        """Called once, on the event loop, when the alarm is raised."""
        state.fork_evidence = _kept_evidence(evidence)

    @property
    def halted(self) -> bool:
        return self._state.fork_evidence is not None

    def newest_note(self) -> bytes | None:
        """The note of the largest log accepted so far; what the journal is to remember. Any thread."""
        return None if self._newest is None else self._newest[1]

    async def check(self, note: bytes) -> bool:
        """Accept a checkpoint that extends, or is extended by, what was seen; True if it is now the newest.

        Raises ForkError for a contradiction, and always once there was one; MalformedError, LimitError or
        SignatureError for a note the log's key has not signed; CollectorAwayError, CollectorProblemError,
        CollectorAnswerError or LogUnprovenError when it cannot be proven now.
        """
        offered = open_checkpoint(note, self._log_key)
        async with self._lock:
            if self.halted:
                raise ForkError(f"the log contradicted itself before, see {self._state.fork_evidence}")
            await self._load()
            return await self._accept(offered, note)

    async def _load(self) -> None:
        if self._loaded:
            return
        note = await asyncio.to_thread(self._journal.last_checkpoint)
        if note is not None:
            self._remember(open_checkpoint(note, self._log_key), note)
        self._loaded = True

    async def _accept(self, offered: Checkpoint, note: bytes) -> bool:
        seen = self._remembered.get(offered.size, self._newest)
        if seen is None:
            self._remember(offered, note)
            return True
        question = compare_checkpoints(seen[0], offered)
        if question.relation is Relation.CONTRADICTS:
            self._halt(seen[1], note, f"two roots for the log of {offered.size} entries")
        if question.relation is Relation.PROVE and not await self._is_proven(question):
            self._halt(seen[1], note, f"no proof from size {question.smaller.size} to {question.larger.size}")
        return self._remember(offered, note)

    async def _is_proven(self, question: Question) -> bool:
        for _ in range(_PROOF_ATTEMPTS):
            proof = await self._fetch(question)
            try:
                verify_consistency(
                    question.smaller.size,
                    question.larger.size,
                    proof,
                    question.smaller.root,
                    question.larger.root,
                )
            except ProofError as error:
                _log.warning("log-unproven", extra={"detail": str(error)})
            else:
                return True
        return False

    async def _fetch(self, question: Question) -> Sequence[bytes]:
        try:
            return await self._proofs.fetch_consistency(question.smaller.size, question.larger.size)
        except CollectorProblemError as error:
            if error.can_retry:
                raise
            why = f"the collector gives no proof from size {question.smaller.size} to {question.larger.size}"
            self._state.report(LogUnprovenError.code, why)
            raise LogUnprovenError(why) from error

    def _remember(self, checkpoint: Checkpoint, note: bytes) -> bool:
        self._remembered[checkpoint.size] = (checkpoint, note)
        self._remembered.move_to_end(checkpoint.size)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        if self._newest is None or checkpoint.size > self._newest[0].size:
            self._newest = (checkpoint, note)
            return True
        return False

    def _halt(self, seen: bytes, offered: bytes, why: str) -> NoReturn:
        folder = _keep_evidence(self._evidence, seen, offered, format_time(self._now()), why)
        self._state.fork_evidence = folder
        self._state.report(ForkError.code, f"{why}; deliveries stopped, evidence in {folder}")
        _log.critical("log-forked", extra={"detail": why, "evidence": str(folder)})
        self.on_halt()
        raise ForkError(f"{why}; both notes are kept in {folder}")


def _kept_evidence(folder: Path) -> Path | None:
    kept = sorted(path.parent for path in folder.glob("fork-*/offered.note"))
    return kept[0] if kept else None


def _keep_evidence(root: Path, seen: bytes, offered: bytes, at: str, why: str) -> Path:
    """Durable before anything else is done about it; the second note is written last and makes it count."""
    folder = root / f"fork-{at.replace(':', '')}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("why.txt", why.encode() + b"\n"), ("seen.note", seen), ("offered.note", offered)):
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for path in (folder, root):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return folder
