"""What ``profiles`` prints: Chinese first, for whoever writes a profile or asks why a recorder was taken for one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from firmware_profiles.identity import Answer, Outcome
from firmware_profiles.registry import Verdict
from firmware_profiles.schema import Profile
from firmware_profiles.trial import FileTrial, Trial

_CRITERIA_ZH: Final[Mapping[str, str]] = {
    "volume_labels": "卷标",
    "marker_files": "标识文件",
    "paths": "路径",
    "file_names": "文件名规则",
    "usb": "USB 对话",
}
_SOURCES_ZH: Final[Mapping[str, str]] = {
    "device": "设备自述",
    "marker file": "标识文件",
    "volume label": "卷标",
    "name": "文件名",
}


def plain(text: str) -> str:
    """A name from a card may hold what a terminal obeys: such characters are shown as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def profile_values(profile: Profile, turned_on: Collection[str]) -> dict[str, Any]:
    """A profile for machines. ``on``: whether it may send, if it sends anything."""
    sends = profile.usb is not None and profile.usb.sends
    return {
        "id": profile.id,
        "version": profile.version,
        "title": {"zh": profile.title_zh, "en": profile.title_en},
        "rank": profile.match.rank,
        "fallback": profile.match.fallback,
        "match": {name: list(patterns) for name, patterns in profile.match.written.items()},
        "sends": sends,
        "on": not sends or _is_on(profile, turned_on),
        "release": {"allowed": profile.release.allowed, "why": profile.release.why},
        "verified_on": [
            {"model": unit.model, "firmware": unit.firmware, "date": unit.date.isoformat(), "by": unit.by}
            for unit in profile.verified_on
        ],
    }


def _is_on(profile: Profile, turned_on: Collection[str]) -> bool:
    usb = profile.usb
    verified = bool(profile.verified_on)
    return usb is not None and usb.may_send(profile.id, verified=verified, turned_on=turned_on)


def profile_text(profile: Profile, turned_on: Collection[str]) -> str:
    """A few lines for people."""
    lines = [
        f"{profile.id} {profile.version}  {profile.title_zh} {profile.title_en}",
        f"  识别 match: {_match_text(profile)}",
        f"  发送 sends: {_sends_text(profile, turned_on)}",
        f"  清除 release: {_release_text(profile)}",
        *(
            f"  实机验证 verified on: {unit.model}, {unit.firmware}, {unit.date}, {unit.by}"
            for unit in profile.verified_on
        ),
    ]
    if not profile.verified_on:
        lines.append("  实机验证 verified on: 未在实机上验证 never tried on real hardware")
    return "\n".join(lines)


def _match_text(profile: Profile) -> str:
    if profile.match.fallback:
        return "其他配置都不适用时 when nothing else fits"
    if not profile.match.has_criteria:
        return f"{profile.match.rank}; 仅凭 USB 对话 by the conversation with the device alone"
    written = [
        f"{_CRITERIA_ZH[name]} {name} {', '.join(patterns)}"
        for name, patterns in profile.match.written.items()
    ]
    return f"{profile.match.rank}; {'; '.join(written)}"


def _sends_text(profile: Profile, turned_on: Collection[str]) -> str:
    if profile.usb is None or not profile.usb.sends:
        return "不向设备发送任何内容 nothing"
    if _is_on(profile, turned_on):
        return "会与设备对话，已启用 talks with the device, on"
    return "会与设备对话，启用前不发送 talks with the device, off until the operator turns it on"


def _release_text(profile: Profile) -> str:
    if profile.release.allowed:
        return "按本站设置 as the station is set"
    return f"从不清除 never: {profile.release.why}"


def check_text(faults: Mapping[str, Sequence[str]]) -> str:
    """Each place with what is wrong there, one line each."""
    lines = []
    for place, found in faults.items():
        lines += [f"✗ {plain(fault)}" for fault in found]
        if not found and place != "registry":
            lines.append(f"✓ {place}")
    count = sum(map(len, faults.values()))
    return "\n".join([*lines, f"共 {count} 处错误 {count} faults" if count else "没有错误 no faults"])


def trial_values(name: str, trial: Trial) -> dict[str, Any]:
    """A trial for machines; files in the words of a listing's ``expect``."""
    return {
        "listing": name,
        "profile": trial.profile.id,
        "chosen": trial.chosen,
        "refused": trial.refused,
        "profiles": [
            {"id": verdict.profile.id, "rank": verdict.profile.match.rank, "unmet": list(verdict.unmet)}
            for verdict in trial.verdicts
        ],
        "recorder": _answer_values(trial.recorder),
        "officer": _answer_values(trial.officer),
        "files": [{"path": file.path, "grammar": file.grammar, **file.found()} for file in trial.files],
        "surprises": list(trial.surprises),
    }


def _answer_values(answer: Answer) -> dict[str, Any]:
    return {
        "outcome": answer.outcome.value,
        "claim": None if answer.claim is None else answer.claim.to_json(),
        "said": [claim.to_json() for claim in answer.said],
    }


def trial_text(name: str, trial: Trial) -> str:
    """A trial for people: who it is taken for and why, who it is, every file, and what was not expected."""
    return "\n".join(
        [
            f"目录样本 listing: {name}",
            f"选用 chosen: {trial.chosen or trial.refused}",
            *(f"  {_verdict_text(verdict, trial)}" for verdict in sorted(trial.verdicts, key=_by_rank)),
            f"记录仪 recorder: {_answer_text(trial.recorder)}",
            f"人员 officer: {_answer_text(trial.officer)}",
            f"文件 files: {len(trial.files)}",
            *(f"  {_file_text(file)}" for file in trial.files),
            *_surprise_lines(trial),
        ]
    )


def _by_rank(verdict: Verdict) -> tuple[bool, int, str]:
    match = verdict.profile.match
    return match.fallback, -match.rank, verdict.profile.id


def _verdict_text(verdict: Verdict, trial: Trial) -> str:
    profile = verdict.profile
    mark = "✓" if profile.id == trial.chosen else "–"
    shown = f"{mark} {profile.id} ({profile.match.rank})"
    if profile.match.fallback:
        return f"{shown} 备用 only when nothing else fits"
    if profile.id == trial.chosen and verdict.fits:
        return f"{shown} 适用 fits"
    if profile.id == trial.chosen:
        return f"{shown} 由 USB 对话认定 told by the conversation with the device"
    if verdict.fits:
        return f"{shown} 也适用，但级别不高于选用者 fits too, but another ranks higher or as high"
    unmet = "、".join(f"{_CRITERIA_ZH[name]} {name}" for name in verdict.unmet)
    return f"{shown} 不符 does not show: {unmet}"


def _answer_text(answer: Answer) -> str:
    said = ", ".join(
        f"{plain(claim.value)} ({_SOURCES_ZH[claim.source]} {claim.source})" for claim in answer.said
    )
    if answer.outcome is Outcome.KNOWN:
        return said
    if answer.outcome is Outcome.ABSENT:
        return "无处说明，须询问 nothing says so: ask"
    return f"说法矛盾，须询问 contradiction: ask; {said}"


def _file_text(file: FileTrial) -> str:
    found = file.found()
    path = plain(file.path)
    if "rule" in found:
        return f"{path}  不采集 ignored: {found['rule']}"
    kind = found.pop("kind", "未知类型 unknown kind")
    claims = [f"{key} {'✓' if value is True else value}" for key, value in found.items()]
    return "  ".join([path, str(kind), *map(plain, claims)])


def _surprise_lines(trial: Trial) -> Iterator[str]:
    if trial.chosen != trial.profile.id:
        yield f"✗ 会选用其他配置 {trial.profile.id} would not be chosen"
    for surprise in trial.surprises:
        yield f"✗ 与预期不符 not as expected: {plain(surprise)}"
    if trial.chosen == trial.profile.id and not trial.surprises:
        yield "✓ 与预期相符 as expected"
