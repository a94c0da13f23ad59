"""The conservation of clips, from log and objects; and whether the collector's catalogue says the same of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from collector.audit.report import Tally
from collector.catalogue import Catalogue, FindingFilter, FindingState, RecordedFinding
from collector.core.explanations import EXPLAINED
from collector.core.findings import KINDS, ClosedBy, Severity
from collector.database.errors import DatabaseError
from collector.progress import Progress
from protocol.digest import Digest

_PAGE: Final = 500
_DIFFERS: Final = "catalogue-differs"
_Line = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedFindings:
    """What the catalogue said when the audit began, in a file of lines: id, what it is about, all of it."""

    path: Path
    state: FindingState | None
    trouble: str | None = None

    @classmethod
    def take(cls, catalogue: Catalogue | None, path: Path) -> Self:
        """One snapshot of a catalogue that may be in use; None: there is none to compare with. One that cannot be read
        is no reason not to look at the evidence."""
        try:
            return cls(path=path, state=None if catalogue is None else _write(catalogue, path))
        except (DatabaseError, LookupError, ValueError) as error:  # the latter two: values that are none
            return cls(path=path, state=None, trouble=str(error.__cause__ or error))

    @property
    def size(self) -> int:
        """How much of the log it was said of; 0 where nothing was said."""
        return 0 if self.state is None else self.state.projected_size

    def compare(self, fresh: Catalogue, tally: Tally) -> None:
        """Against a catalogue made from the same entries. Only what the claimed one had finished is compared."""
        state = self.state
        if state is None:
            return
        if state.has_unread_listings:
            tally.note(
                "catalogue-behind", "catalogue", "listings were still to be read; findings not compared"
            )
            return
        fresh.catch_up()
        made = self.path.with_suffix(".fresh")
        _write(fresh, made)
        skipped = {str(about) for about in state.unreconciled}
        if skipped:
            tally.note("catalogue-behind", "catalogue", f"{len(skipped)} findings' computation was under way")
        for line, said in _differences(_lines(self.path), _lines(made)):
            if line[1] not in skipped:
                tally.problem(_DIFFERS, line[0], said)


def _write(catalogue: Catalogue, path: Path) -> FindingState:
    with path.open("w", encoding="ascii") as file:

        def tell(finding: Digest, about: Digest, content: bytes) -> None:
            file.write(f"{finding} {about} {base64.b64encode(content).decode()}\n")

        return catalogue.tell_findings(tell)


def _lines(path: Path) -> Iterator[_Line]:
    with path.open(encoding="ascii") as file:
        for line in file:
            finding, about, content = line.split()
            yield finding, about, content


def _differences(claimed: Iterator[_Line], made: Iterator[_Line]) -> Iterator[tuple[_Line, str]]:
    """Both in the order of ids."""
    one, other = next(claimed, None), next(made, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one, "the catalogue shows a finding that log and objects do not give"
            one = next(claimed, None)
        elif one is None or other[0] < one[0]:
            yield other, "the catalogue lacks a finding that log and objects give"
            other = next(made, None)
        else:
            if one[2] != other[2]:
                yield other, "the catalogue tells a finding otherwise than log and objects do"
            one, other = next(claimed, None), next(made, None)


def report_findings(fresh: Catalogue, tally: Tally, progress: Progress) -> None:
    """Everything still open, after all listings were read. Notes are told as notes, and so is what somebody answers
    for: it is known, and nobody's failure any more."""
    fresh.catch_up()
    _, files = fresh.listed_files()
    tally.count(things=files)
    count = 0
    for page in _pages(fresh, FindingFilter(is_open=True)):
        for finding in page:
            tell = tally.note if finding.severity is Severity.NOTE else tally.problem
            tell(finding.code, _place(finding), _detail(finding))
        count += len(page)
        progress("发现 open findings", count, None)
    for page in _pages(fresh, FindingFilter(is_open=False, closed_by=ClosedBy.EXPLANATION)):
        for finding in page:
            tally.note(EXPLAINED, _place(finding), f"{finding.code}: {_explanation(finding)}")


def _pages(fresh: Catalogue, wanted: FindingFilter) -> Iterator[Sequence[RecordedFinding]]:
    page = fresh.findings(wanted, limit=_PAGE)
    yield page.findings
    while page.next_after is not None:
        page = fresh.findings(wanted, limit=_PAGE, after=page.next_after)
        yield page.findings


def _place(finding: RecordedFinding) -> str:
    parts = [finding.agency, finding.station, finding.recorder, finding.visit, finding.path]
    return " ".join(part for part in parts if part) + f" [{finding.id}]"


def _explanation(finding: RecordedFinding) -> str:
    said = finding.explanation
    return "" if said is None else f"说明 entry {said.index}, {said.actor}: {said.reason}"


def _detail(finding: RecordedFinding) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in sorted(finding.details.items()))
    files = "" if finding.files == 1 else f" ({finding.files} files)"
    says = KINDS[finding.code].says
    return f"{says.zh} {says.en}{files}{'; ' if facts else ''}{facts}"
