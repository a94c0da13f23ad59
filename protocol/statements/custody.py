"""Custody events: who did what to which item, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from protocol.digest import Digest
from protocol.errors import MalformedError
from protocol.limits import MAX_TEXT_CHARS
from protocol.statements.frame import Frame, Header, Subject

EVENTS: Final = frozenset(
    {
        "viewed",
        "unreadable",
        "refused",
        "restored",
        "imported",
        "damaged",
        "repaired",
        "explained",
        "explanation-withdrawn",
    }
)
"""viewed: a person or system read an original or a rendition. unreadable: a listed file could not be read after
bounded attempts. refused: an authenticated statement was not admitted. restored: the collector's log came back from
a backup. imported: what the table of an import says of an original. damaged: a stored object was found missing or
altered. repaired: it is whole again. explained: somebody answers for a finding.
explanation-withdrawn: what explained the finding no longer does."""

_MAX_DETAILS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """A custody event (保管事件). ``details`` are flat texts and numbers whose names depend on the event."""

    kind: ClassVar[str] = "custody"

    header: Header
    event: str
    item: Digest
    item_name: str
    actor: str
    details: Mapping[str, str | int]

    @property
    def subject(self) -> Subject:
        return Subject(self.item_name, self.item)

    def predicate(self) -> Mapping[str, object]:
        return {"event": self.event, "actor": self.actor, "details": dict(self.details)}

    @classmethod
    def read(cls, frame: Frame) -> Self:
        details = frame.fields.raw("details")
        if not isinstance(details, dict) or len(details) > _MAX_DETAILS:
            raise MalformedError(f"custody details are an object of at most {_MAX_DETAILS} members")
        for value in details.values():
            if type(value) not in (str, int) or (isinstance(value, str) and len(value) > MAX_TEXT_CHARS):
                raise MalformedError("custody details are short texts and integers")
        return cls(
            header=frame.header,
            event=frame.fields.one_of("event", EVENTS),
            item=frame.subject.digest,
            item_name=frame.subject.name,
            actor=frame.fields.text("actor"),
            details=details,
        )
