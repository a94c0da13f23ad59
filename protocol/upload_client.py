"""The sender's side of the tus dialogue as one pure decision: after this answer, what next?

Losing an answer is never an error here: the sender asks for the offset and goes on from what it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.digest import Digest
from protocol.upload import REPR_DIGEST, UPLOAD_OFFSET, parse_number, parse_repr_digest
from protocol.upload_errors import UploadDigestError, UploadHeaderError, UploadStoredError


class Step(StrEnum):
    """What a client does next."""

    SEND = "send"
    """Send bytes from ``offset_bytes`` on."""
    ASK = "ask"
    """HEAD for the offset, then decide again."""
    WAIT = "wait"
    """Wait, then HEAD: the collector cannot now (full disk, restart, too many requests)."""
    RESTART = "restart"
    """Create a new upload; this one leads nowhere."""
    DONE = "done"
    """The collector holds every byte durably."""
    STOP = "stop"
    """Trying again would fail the same way; a person must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """A step and, for SEND, where to start reading the source."""

    step: Step
    offset_bytes: int = 0


_PLAIN_STEPS: Final[Mapping[int, Step]] = {
    403: Step.STOP,
    404: Step.RESTART,
    408: Step.ASK,
    409: Step.ASK,
    410: Step.RESTART,
    423: Step.ASK,
    425: Step.WAIT,
    429: Step.WAIT,
    460: Step.ASK,
}
_CODE_STEPS: Final[Mapping[str, Step]] = {
    UploadStoredError.code: Step.DONE,
    UploadDigestError.code: Step.RESTART,
}


def next_offset(headers: Mapping[str, str], *, size_bytes: int) -> int | None:
    """Resume rule: the collector's offset alone decides where to go on, also when it is lower than what was
    once acknowledged. None when the answer names no usable offset. Raises UploadHeaderError for an offset
    beyond the file: such an upload is not of this file."""
    offset = parse_number(headers, UPLOAD_OFFSET)
    if offset is not None and offset > size_bytes:
        raise UploadHeaderError(f"{UPLOAD_OFFSET} {offset} lies beyond the file of {size_bytes} bytes")
    return offset


def decide_after(
    status: int | None,
    headers: Mapping[str, str],
    *,
    size_bytes: int,
    digest: Digest | None = None,
    code: str | None = None,
) -> NextStep:
    """What the answer to POST, HEAD or PATCH obliges a client to do. ``status`` None is a connection that broke,
    ``code`` the problem's code if the answer had one, ``digest`` that of the file if known."""
    if status is None:
        return NextStep(step=Step.ASK)
    if 200 <= status < 300:
        return _after_success(headers, size_bytes, digest)
    if code is not None and code in _CODE_STEPS:
        return NextStep(step=_CODE_STEPS[code])
    return NextStep(step=_PLAIN_STEPS.get(status, Step.WAIT if status >= 500 else Step.STOP))


def _after_success(headers: Mapping[str, str], size_bytes: int, digest: Digest | None) -> NextStep:
    created = "Location" in headers
    try:
        offset = next_offset(headers, size_bytes=size_bytes)
    except UploadHeaderError:
        return NextStep(step=Step.RESTART)
    if offset is None and not created:
        return NextStep(step=Step.ASK)
    held = parse_repr_digest(headers.get(REPR_DIGEST, ""))
    if None not in (held, digest) and held != digest:
        return NextStep(step=Step.RESTART)
    if (offset or 0) == size_bytes:
        return NextStep(step=Step.DONE)
    return NextStep(step=Step.SEND, offset_bytes=offset or 0)
