"""Findings (发现): what is not as the conservation of clips demands, with stable codes, and what to do (pure).

A finding is a function of statements and objects: no clock and no chance is in it. It opens at the log index that
makes it evident and closes only by evidence, a later entry, or by a signed explanation. Codes are never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from protocol.canonical import canonical
from protocol.digest import Digest


class Severity(StrEnum):
    """How bad it may be (严重程度)."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTE = "note"


class ClosedBy(StrEnum):
    """What ended a finding."""

    EVIDENCE = "evidence"
    EXPLANATION = "explanation"


@dataclass(frozen=True, slots=True)
class Sentence:
    """The same in Chinese and English."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all findings of one code share."""

    severity: Severity
    says: Sentence
    advice: Sentence


DEFICIT: Final = "deficit"
LEFT_UNREAD: Final = "left-unread"
UNDELIVERED: Final = "undelivered"
GONE_WITHOUT_RELEASE: Final = "gone-without-release"
RELEASED_WITHOUT_RECEIPT: Final = "released-without-receipt"
RELEASE_UNCONFIRMED: Final = "release-unconfirmed"
ERASED_BUT_BACK: Final = "erased-but-back"
SEQUENCE_GAP: Final = "sequence-gap"
CLOCK_JUMP: Final = "clock-jump"
IMPLAUSIBLE_TIME: Final = "implausible-time"
MANIFEST_BEFORE_INVENTORY: Final = "manifest-before-inventory"
OBJECT_MISSING: Final = "object-missing"
OBJECT_ALTERED: Final = "object-altered"

KINDS: Final[Mapping[str, Kind]] = {
    DEFICIT: Kind(
        severity=Severity.ALARM,
        says=Sentence(
            "清单内容与签名清点的行数不符", "The listing has not the rows its signed inventory declares"
        ),
        advice=Sentence(
            "封存该采集站，查明清单由谁改动；原因查明后签署说明",
            "Secure the station, find out who changed the listing, then sign an explanation",
        ),
    ),
    LEFT_UNREAD: Kind(
        severity=Severity.WARNING,
        says=Sentence(
            "记录仪被取走时还有文件没有读完，之后再未到站",
            "The recorder left with files unread and has not been back",
        ),
        advice=Sentence("请持有人把记录仪再插回采集站", "Have its holder dock the recorder again"),
    ),
    UNDELIVERED: Kind(
        severity=Severity.ALARM,
        says=Sentence(
            "文件已读取并签名，七天后字节仍未送达",
            "Files were read and signed for, and their bytes have not arrived within seven days",
        ),
        advice=Sentence(
            "检查采集站的网络和磁盘；采集站已坏时用 zhilu-agent rescue 交付其暂存",
            "Look at the station's network and disk; if it is dead, deliver its spool with zhilu-agent rescue",
        ),
    ),
    GONE_WITHOUT_RELEASE: Kind(
        severity=Severity.ALARM,
        says=Sentence(
            "清点过的文件从记录仪上消失，没有放行清除的记录",
            "A listed file is gone from the recorder and no release says so",
        ),
        advice=Sentence(
            "问持有人谁在何时删除了它；本端已有其字节时看片段，否则按丢失上报；原因查明后签署说明",
            "Ask the holder who erased it and when; if its bytes are here, nothing is lost, else report a loss; then"
            " sign an explanation",
        ),
    ),
    RELEASED_WITHOUT_RECEIPT: Kind(
        severity=Severity.ALARM,
        says=Sentence(
            "采集站清除了没有入库回执的文件",
            "The station erased a file whose bytes were not said to be stored",
        ),
        advice=Sentence(
            "立即停用该采集站的放行，封存其暂存盘，核对软件版本",
            "Turn off release at the station at once, secure its spool, check its software",
        ),
    ),
    RELEASE_UNCONFIRMED: Kind(
        severity=Severity.WARNING,
        says=Sentence(
            "采集站声明要清除，却没有报告结果，记录仪已再次到站",
            "The station announced an erasure and never said what became of it, though the recorder was docked again",
        ),
        advice=Sentence(
            "把记录仪插回同一采集站，由它补报；采集站已坏时签署说明",
            "Dock the recorder at the same station, which then reports; if it is dead, sign an explanation",
        ),
    ),
    ERASED_BUT_BACK: Kind(
        severity=Severity.WARNING,
        says=Sentence(
            "已报告清除的文件又出现在记录仪上", "A file that was reported erased is on the recorder again"
        ),
        advice=Sentence(
            "检查存储卡是否失效，或是否有人把副本拷回",
            "Check whether the card is failing, or whether somebody copied it back",
        ),
    ),
    SEQUENCE_GAP: Kind(
        severity=Severity.WARNING,
        says=Sentence(
            "文件编号不连续：有文件在清点之前被删除",
            "File numbers are missing: files were erased before anybody listed them",
        ),
        advice=Sentence(
            "问持有人是否在记录仪上删过文件；原因查明后签署说明",
            "Ask the holder whether files were erased on the recorder; then sign an explanation",
        ),
    ),
    CLOCK_JUMP: Kind(
        severity=Severity.WARNING,
        says=Sentence("时钟被调整过", "A clock was set"),
        advice=Sentence(
            "核对这段时间内各片段的时间，给记录仪或采集站校时",
            "Check the times of the clips of that period, set the clock of recorder or station",
        ),
    ),
    IMPLAUSIBLE_TIME: Kind(
        severity=Severity.WARNING,
        says=Sentence("所称时间不可能", "A claimed time cannot be"),
        advice=Sentence(
            "给记录仪或采集站校时；片段的先后以日志序号为准",
            "Set the clock of recorder or station; for the order of clips go by the log",
        ),
    ),
    MANIFEST_BEFORE_INVENTORY: Kind(
        severity=Severity.WARNING,
        says=Sentence(
            "读取声明先于清点清单进入日志", "A manifest came into the log before the inventory it builds on"
        ),
        advice=Sentence(
            "清单到达后自动了结；迟迟不到时，核对采集站是否先读后列",
            "Ends when the inventory arrives; if it does not, check whether the station read before it listed",
        ),
    ),
    OBJECT_MISSING: Kind(
        severity=Severity.ALARM,
        says=Sentence("已入库的字节不见了", "Stored bytes are no longer there"),
        advice=Sentence(
            "从备份恢复，或请仍有副本的采集站重新交付",
            "Restore from the backup, or let a station that has them deliver again",
        ),
    ),
    OBJECT_ALTERED: Kind(
        severity=Severity.ALARM,
        says=Sentence("已入库的字节被改动", "Stored bytes are no longer what they were"),
        advice=Sentence(
            "更换磁盘，从备份恢复，或请仍有副本的采集站重新交付；原文件另存备查",
            "Replace the disk; restore from the backup or let a station that has them deliver again; keep the damaged"
            " file",
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. ``subject`` is the statement or object it is about and ``place`` where in it; with code and agency
    they are its identity. ``files`` is how many files it is about, ``path`` and ``row`` the first of them, and
    ``inventory`` the listing that ``row`` counts in."""

    code: str
    agency: str
    subject: Digest
    place: str = ""
    station: str | None = None
    recorder: str | None = None
    visit: str | None = None
    inventory: Digest | None = None
    row: int | None = None
    path: str | None = None
    files: int = 1
    opened_index: int
    closed_index: int | None = None
    closed_by: ClosedBy | None = None
    severity: Severity
    details: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def id(self) -> Digest:
        """The same for the same finding, whoever computes it and when."""
        return Digest.of(canonical([self.code, self.agency, str(self.subject), self.place]))

    def close(self, index: int | None, by: ClosedBy) -> Finding:
        """Closed at ``index`` if that comes first; None changes nothing."""
        if index is None or (self.closed_index is not None and self.closed_index <= index):
            return self
        return replace(self, closed_index=index, closed_by=by)

    @property
    def ever_opened(self) -> bool:
        """False where the evidence against it was in the log before the evidence for it."""
        return self.closed_index is None or self.closed_index > self.opened_index


def severity_of(code: str) -> Severity:
    """The severity of a code where nothing makes it less bad."""
    return KINDS[code].severity
