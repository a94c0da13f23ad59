"""What an audit found: sections with counts, problems and notes; the same for people and for machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_REMARKS: Final = 1_000
"""Problems, and notes, spelled out in a section; the rest is counted. A lost disk must not fill the memory too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing that is not as it should be (问题), or that somebody should know (提示). ``where`` names what it is
    about: an entry, an object, a finding."""

    code: str
    where: str
    detail: str

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "where": self.where, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of check: how much was checked, and what came out. Only the first remarks are spelled out."""

    name: str
    checked: int
    size_bytes: int
    seconds: float
    problems: tuple[Remark, ...]
    problem_count: int
    notes: tuple[Remark, ...]
    note_count: int

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "checked": self.checked,
            "size_bytes": self.size_bytes,
            "seconds": round(self.seconds, 3),
            "problem_count": self.problem_count,
            "problems": [remark.to_json() for remark in self.problems],
            "note_count": self.note_count,
            "notes": [remark.to_json() for remark in self.notes],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The whole audit of a log of ``log_size`` entries. ``sampled`` is the number of objects and receipts that
    were looked into, None for all of them; ``since`` the size from which on statements were."""

    origin: str
    log_size: int
    since: int
    sampled: int | None
    sections: tuple[Section, ...]

    @property
    def is_clean(self) -> bool:
        return all(section.problem_count == 0 for section in self.sections)

    @property
    def problems(self) -> tuple[Remark, ...]:
        return tuple(remark for section in self.sections for remark in section.problems)

    def section(self, name: str) -> Section:
        """Raises KeyError for a section that was not reached."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)

    def to_json(self) -> Mapping[str, object]:
        return {
            "clean": self.is_clean,
            "origin": self.origin,
            "log_size": self.log_size,
            "since": self.since,
            "sampled": self.sampled,
            "sections": [section.to_json() for section in self.sections],
        }


class Tally:
    """A section under way. ``clock`` gives seconds and only measures; it decides nothing."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.checked = 0
        self._size_bytes = 0
        self._clock = clock
        self._seconds = 0.0
        self._problems: list[Remark] = []
        self._problem_count = 0
        self._notes: list[Remark] = []
        self._note_count = 0
        self._entered_at = 0.0

    def __enter__(self) -> Tally:
        self._entered_at = self._clock()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._seconds += self._clock() - self._entered_at

    def count(self, size_bytes: int = 0, *, things: int = 1) -> None:
        self.checked += things
        self._size_bytes += size_bytes

    def problem(self, code: str, where: str, detail: str) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_REMARKS:
            self._problems.append(Remark(code=code, where=where, detail=detail))

    def note(self, code: str, where: str, detail: str) -> None:
        self._note_count += 1
        if len(self._notes) < MAX_REMARKS:
            self._notes.append(Remark(code=code, where=where, detail=detail))

    def section(self) -> Section:
        return Section(
            name=self.name,
            checked=self.checked,
            size_bytes=self._size_bytes,
            seconds=self._seconds,
            problems=tuple(self._problems),
            problem_count=self._problem_count,
            notes=tuple(self._notes),
            note_count=self._note_count,
        )
