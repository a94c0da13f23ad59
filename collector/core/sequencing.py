"""Sequencing (排序): what a batch adds to the log, and where each of its statements stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from collector.core.admission import Admit, Candidate, Known, Refuse, decide_admission
from protocol.digest import Digest
from protocol.entry import KEY_KINDS
from protocol.errors import ProtocolError
from protocol.keyring import KeyRecord
from protocol.statements import Stored

Identity = tuple[str, str, Digest]


class PayloadDamagedError(ProtocolError):
    """Something else lies under the name of this statement's payload. A person must look; then it comes again."""

    code = "payload-damaged"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A candidate with what the log says: its signer's key and, if it is in the log already, its place. ``damaged``:
    its payload cannot be stored now."""

    candidate: Candidate
    record: KeyRecord | None
    known_index: int | None
    damaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """One decision per question; ``admitted`` is to be appended in this order. ``implausible`` are those of
    ``admitted`` whose time lies in the future."""

    decisions: tuple[Known | Refuse, ...]
    admitted: tuple[Candidate, ...]
    implausible: tuple[Candidate, ...]


def plan_batch(questions: Sequence[Question], *, next_index: int, now: datetime) -> BatchPlan:
    """Decide in order; what the batch itself admits is known to the rest of it."""
    fresh: dict[Identity, int] = {}
    decisions: list[Known | Refuse] = []
    admitted: list[Candidate] = []
    implausible: list[Candidate] = []
    for question in questions:
        candidate, identity = question.candidate, identify(question.candidate)
        known_index = fresh.get(identity, question.known_index)
        decision = decide_admission(candidate, record=question.record, known_index=known_index, now=now)
        if isinstance(decision, Admit) and question.damaged:
            decision = Refuse(
                error=PayloadDamagedError("the statement's payload cannot be stored"), authenticated=False
            )
        elif isinstance(decision, Admit):
            if decision.implausible_time:
                implausible.append(candidate)
            fresh[identity] = next_index + len(admitted)
            admitted.append(candidate)
            decision = Known(index=fresh[identity])
        decisions.append(decision)
    return BatchPlan(decisions=tuple(decisions), admitted=tuple(admitted), implausible=tuple(implausible))


def identify(candidate: Candidate) -> Identity:
    """What may stand in the log once: a statement by its signer, and one ``stored`` by its signer for each promise."""
    statement = candidate.statement
    what = ("stored", statement.statement) if isinstance(statement, Stored) else ("statement", candidate.id)
    return (candidate.entry.key_id, *what)


def split_batches(candidates: Sequence[Candidate], most: int) -> Iterator[Sequence[Candidate]]:
    """In order, at most ``most`` together, and nothing together with what ends a batch before it."""
    part: list[Candidate] = []
    for candidate in candidates:
        part.append(candidate)
        if len(part) == most or ends_batch(candidate):
            yield part
            part = []
    if part:
        yield part


def ends_batch(candidate: Candidate) -> bool:
    """Whether a batch may not go on behind it: what comes after a statement about keys is judged by it."""
    return candidate.entry.kind in KEY_KINDS
