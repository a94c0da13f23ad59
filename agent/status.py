"""What the station is doing, for people and programs.

``snapshot`` is what ``status.json`` holds and ``zhilu-agent status --json`` prints; ``format_lines`` makes the console
lines, one for each bay and one for the station, Chinese first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from agent.core.bay import BayState, BayStatus
from agent.spool.records import Backlog
from agent.uplink.state import UplinkState
from protocol.times import format_time

Snapshot = Mapping[str, Any]
"""JSON of version 1; members are only ever added."""

_BUSY: Final = frozenset(
    {
        BayState.IDENTIFYING,
        BayState.SWITCHING,
        BayState.MOUNTING,
        BayState.INVENTORY,
        BayState.OFFLOADING,
        BayState.RELEASABLE,
        BayState.RELEASING,
    }
)
_MIB: Final = 1024 * 1024
_SHOWN_FINDINGS: Final = 10


def snapshot(
    *,
    station: str,
    at: datetime,
    bays: Sequence[BayStatus],
    backlog: Backlog,
    uplink: UplinkState,
    broker_connected: bool,
    working: str | None,
    obstacle: str | None = None,
) -> Snapshot:
    """Everything at one moment. ``idle``: nothing is being read, announced, delivered, rendered or erased.
    ``obstacle`` is what keeps renditions from being made."""
    owes = backlog.statements_unsettled + backlog.deliveries_open + backlog.media_jobs_open
    return {
        "v": 1,
        "state": "online",
        "station": station,
        "at": format_time(at),
        "idle": owes == 0 and not any(bay.state in _BUSY for bay in bays),
        "bays": [_bay_json(bay) for bay in bays],
        "collector": {
            "answers": uplink.collector_answers,
            "failure": None if uplink.collector_failure is None else uplink.collector_failure.code,
            "broker_connected": broker_connected,
            "log_contradiction": None if uplink.fork_evidence is None else str(uplink.fork_evidence),
        },
        "backlog": {
            "statements": backlog.statements_unsettled,
            "statements_refused": backlog.statements_refused,
            "deliveries": backlog.deliveries_open,
            "delivery_bytes": backlog.delivery_bytes_open,
            "media_jobs": backlog.media_jobs_open,
            "oldest_at": None if backlog.oldest_open_at is None else format_time(backlog.oldest_open_at),
        },
        "rendering": working,
        "rendering_obstacle": obstacle,
        "findings": [
            {"at": format_time(finding.at), "code": finding.code, "detail": finding.detail}
            for finding in list(uplink.findings)[-_SHOWN_FINDINGS:]
        ],
    }


def _bay_json(bay: BayStatus) -> Snapshot:
    return {
        "dock": bay.dock,
        "bay": bay.bay,
        "state": bay.state.value,
        "zh": bay.sentence.zh,
        "en": bay.sentence.en,
        "may_be_taken": bay.may_be_taken,
        "needs_person": bay.needs_person,
        "problem_code": bay.problem_code,
        "problem": bay.problem,
        "advice_zh": None if bay.advice is None else bay.advice.zh,
        "advice_en": None if bay.advice is None else bay.advice.en,
        "recorder": bay.recorder,
        "officer": bay.officer,
        "profile": bay.profile,
        "doubts": list(bay.doubts),
        "files": bay.files,
        "files_read": bay.files_read,
        "files_unreadable": bay.files_unreadable,
        "files_receipted": bay.files_receipted,
        "files_released": bay.files_released,
        "bytes_total": bay.bytes_total,
        "bytes_read": bay.bytes_read,
        "time_left_s": bay.time_left_s,
        "since": format_time(bay.since),
    }


def format_lines(status: Snapshot) -> list[str]:
    """One line for each bay, then one for the station; safe to print whatever a recorder is called."""
    lines = [*(_bay_line(bay) for bay in status["bays"]), _station_line(status)]
    return ["".join(char if char.isprintable() else "\ufffd" for char in line) for line in lines]


def _bay_line(bay: Snapshot) -> str:
    who = " ".join(
        text
        for text in (
            bay["recorder"] and f"记录仪 {bay['recorder']}",
            bay["officer"] and f"警号 {bay['officer']}",
        )
        if text
    )
    parts = [f"[{bay['bay']}]", who or "记录仪未知", f"已采 {bay['files_read']}/{bay['files']}"]
    parts.append(f"{bay['bytes_read'] / _MIB:.1f}/{bay['bytes_total'] / _MIB:.1f} MiB")
    parts.append(f"回执 {bay['files_receipted']}/{bay['files']}")
    if bay["time_left_s"]:
        parts.append(f"约剩 {_duration(bay['time_left_s'])}")
    parts.append(bay["zh"])
    if doubts := bay.get("doubts"):  # a status of an earlier version has none
        parts.append(f"编号有矛盾，请核对（{'; '.join(doubts)}）")
    if advice := bay.get("advice_zh"):
        parts.append(advice)
    if bay["problem"]:
        parts.append(f"({bay['problem_code']}: {bay['problem']})")
    return "  ".join(parts)


def _station_line(status: Snapshot) -> str:
    backlog, collector = status["backlog"], status["collector"]
    if collector["log_contradiction"]:
        link = f"存证日志前后矛盾，已停止上传，证据：{collector['log_contradiction']}"
    elif collector["answers"] is False:
        link = f"汇聚端无法连接 ({collector['failure']})，文件安全保存在本站"
    elif collector["broker_connected"]:
        link = "汇聚端已连接"
    elif collector["answers"] is None:
        link = "正在连接汇聚端"
    else:
        link = "汇聚端已连接（消息通道中断，改用 HTTP）"
    work = f"待报 {backlog['statements']}  待传 {backlog['deliveries']}  待转码 {backlog['media_jobs']}"
    if status["rendering_obstacle"]:
        work += f"  转码暂停（{status['rendering_obstacle']}）"
    return f"{status['station']}  {link}  {work}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} 分 {whole % 60} 秒" if whole >= 60 else f"{whole} 秒"


def load_status(path: Path) -> Snapshot | None:
    """The last snapshot a running station wrote, None if there is none that can be read."""
    try:
        loaded = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) and loaded.get("v") == 1 else None
