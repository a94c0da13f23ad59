"""Does ``zhilu-verify`` say yes to what is true, no to everything else, and tell the two from "cannot be used"?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocol.ids import COLLECTOR
from protocol.note import SignerKey
from protocol.tiles import ENTRIES, Tile
from protocol.verify_cli import main
from tests.support.evidence import (
    COLLECTOR_SEED,
    OTHER_SEED,
    STATION_SEED,
    EvidenceLog,
    Story,
    enrolled,
    inventory,
    manifest,
    revoked,
    stored,
)
from tests.support.evidence_files import EvidenceFiles, write_log, write_story

COMMAND = Path(sys.executable).with_name("zhilu-verify")
STEPS = [
    "receipt-form",
    "log-key",
    "inclusion",
    "keys",
    "chain",
    "content",
    "log-history",
    "log-revocations",
    "witness",
]


@pytest.fixture
def files(tmp_path: Path) -> EvidenceFiles:
    return write_story(tmp_path, Story())


Report = Callable[[list[str]], tuple[int, Any]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Run with ``--json``; the exit code and the report."""

    def run(arguments: list[str]) -> tuple[int, Any]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def failure(outcome: tuple[int, Any]) -> tuple[str, str]:
    """The step that failed and its code; everything after it must be skipped."""
    code, told = outcome
    assert code == 1
    assert told["verified"] is False
    outcomes = [check["outcome"] for check in told["checks"]]
    failed = outcomes.index("failed")
    assert set(outcomes[failed + 1 :]) <= {"skipped"}
    return told["checks"][failed]["name"], told["checks"][failed]["code"]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_true_story_is_verified_in_every_step(files: EvidenceFiles, report: Report) -> None:
    code, told = report(files.arguments())
    assert (code, told["verified"]) == (0, True)
    assert [check["name"] for check in told["checks"]] == STEPS
    assert {check["outcome"] for check in told["checks"]} == {"passed"}
    assert {frozenset(check) for check in told["checks"]} == {
        frozenset({"name", "outcome", "detail", "code"})
    }


def test_without_log_and_checkpoint_it_says_what_it_did_not_look_at(
    files: EvidenceFiles, report: Report
) -> None:
    code, told = report(files.bare_arguments())
    assert code == 0
    skipped = [check["name"] for check in told["checks"] if check["outcome"] == "skipped"]
    assert skipped == ["log-history", "log-revocations", "witness"]


def test_people_read_every_step_and_the_verdict_in_their_language(
    files: EvidenceFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(files.bare_arguments()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines[:-1]] == STEPS
    assert lines[0].startswith("通过 ok")
    assert lines[-2].startswith("未查 skipped")
    assert lines[-1] == "核验通过 VERIFIED"
    flip(files.clip, 0)
    assert main(files.bare_arguments()) == 1
    told = capsys.readouterr().out
    assert "失败 FAILED  文件内容 content: the file is not the one the receipt is for" in told
    assert told.splitlines()[-1] == "核验不通过 NOT VERIFIED"


@pytest.mark.parametrize("position", [0, 7, -1])
def test_a_flipped_bit_in_the_clip_is_refused(files: EvidenceFiles, report: Report, position: int) -> None:
    flip(files.clip, position)
    assert failure(report(files.arguments())) == ("content", "digest-mismatch")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_clip_of_another_length_is_refused(
    files: EvidenceFiles, report: Report, change: Callable[[bytes], bytes]
) -> None:
    files.clip.write_bytes(change(files.clip.read_bytes()))
    assert failure(report(files.arguments())) == ("content", "digest-mismatch")


@pytest.mark.parametrize(
    ("member", "steps"),
    [
        ('"payload":"', {"receipt-form", "inclusion"}),
        ('"sig":"', {"receipt-form", "inclusion"}),
        ('"keyid":"ed25519:', {"inclusion"}),
        ('"proof":"c2sp.org/tlog-proof@v1\\nindex 3\\n', {"receipt-form", "inclusion"}),
        ("log.example/zhilu\\n5\\n", {"receipt-form", "log-key"}),
        ("\\n\\n— log.example/zhilu ", {"receipt-form", "log-key"}),
    ],
    ids=["statement", "signature", "key id", "proof", "root", "checkpoint's signature"],
)
def test_a_flipped_bit_in_the_receipt_is_refused(
    files: EvidenceFiles, report: Report, member: str, steps: set[str]
) -> None:
    data = files.receipt.read_bytes()
    start = data.rindex(member.encode()) + len(member.encode())
    for position in range(start, start + 12):
        files.receipt.write_bytes(data)
        flip(files.receipt, position)
        assert failure(report(files.arguments()))[0] in steps


def test_another_clips_receipt_is_refused(files: EvidenceFiles, report: Report) -> None:
    files.receipt.write_bytes(Story(content=b"another clip").receipt().to_bytes())
    assert failure(report(files.bare_arguments())) == ("content", "digest-mismatch")


@pytest.mark.parametrize(
    "key",
    [
        SignerKey(name="log.example/zhilu", seed=b"x" * 32),
        SignerKey(name="log.example/other", seed=b"l" * 32),
    ],
    ids=["same name", "same key"],
)
def test_another_logs_key_is_refused(files: EvidenceFiles, report: Report, key: SignerKey) -> None:
    other = replace(files, log_key=str(key.verifier))
    assert failure(report(other.arguments())) == ("log-key", "signature-invalid")


def test_a_log_with_another_history_is_refused(files: EvidenceFiles, report: Report, tmp_path: Path) -> None:
    other = replace(files, log=write_log(tmp_path / "other", Story(content=b"rewritten").log))
    assert failure(report(other.arguments())) == ("log-history", "log-forked")


def test_a_log_that_ends_before_the_receipt_asks_for_a_newer_copy(report: Report, tmp_path: Path) -> None:
    story = Story()
    old = write_log(tmp_path / "old", story.log)
    story.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    files = write_story(tmp_path, story)
    outcome = report(replace(files, log=old).arguments())
    assert failure(outcome) == ("log-history", "proof-invalid")
    assert "get a newer copy" in json.dumps(outcome[1])


def test_a_log_that_tells_of_a_revocation_the_receipt_keeps_silent_about_is_refused(
    report: Report, tmp_path: Path
) -> None:
    story, log = Story(), EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
    log.add(revoked(STATION_SEED), COLLECTOR_SEED)
    story.manifest = manifest(story.content, log.add(inventory(), STATION_SEED))
    story.manifest_id = log.add(story.manifest, STATION_SEED)
    log.add(stored(story.manifest, story.manifest_id), COLLECTOR_SEED)
    story.log = log
    silent = log.receipt(story.manifest, story.manifest_id, [0, 1, 3, 4, 5])
    files = write_story(tmp_path, story, silent)
    assert failure(report(files.arguments())) == ("log-revocations", "key-revoked")


@pytest.mark.parametrize("with_log", [False, True])
def test_a_checkpoint_of_a_fork_is_refused(files: EvidenceFiles, report: Report, *, with_log: bool) -> None:
    files.checkpoint.write_bytes(Story(content=b"the other story").log.note)
    arguments = files.arguments()
    if not with_log:
        arguments = [*files.bare_arguments(), "--checkpoint", str(files.checkpoint)]
    assert failure(report(arguments)) == ("witness", "log-forked")


def test_a_checkpoint_of_another_size_needs_the_log_to_compare(report: Report, tmp_path: Path) -> None:
    story = Story()
    files = write_story(tmp_path, story)
    story.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    files.checkpoint.write_bytes(story.log.note)
    grown = replace(files, log=write_log(tmp_path / "grown", story.log))
    assert report(grown.arguments())[0] == 0
    without_log = [*files.bare_arguments(), "--checkpoint", str(files.checkpoint)]
    assert failure(report(without_log)) == ("witness", "chain-broken")
    assert failure(report(files.arguments())) == ("witness", "proof-invalid")


@pytest.mark.parametrize("width", [None, 3])
def test_a_log_without_a_tile_is_refused_by_the_name_of_the_tile(
    files: EvidenceFiles, report: Report, width: int | None
) -> None:
    tile = Tile(level=ENTRIES, index=0, width=5)
    data = (files.log / tile.path).read_bytes()
    (files.log / tile.path).unlink()
    if width is not None:
        (files.log / replace(tile, width=width).path).write_bytes(data)
    outcome = report(files.arguments())
    assert failure(outcome) == ("log-history", "malformed")
    assert "lacks tile/entries/000.p/5" in json.dumps(outcome[1])


def test_a_log_with_a_flipped_bit_is_refused(files: EvidenceFiles, report: Report) -> None:
    tile = Tile(level=ENTRIES, index=0, width=5)
    flip(files.log / tile.path, 200)
    assert failure(report(files.arguments()))[0] == "log-history"


@pytest.mark.parametrize("data", [b"", b"rubbish", b"[" * 100_000, b"\xff\xfe\x00"])
def test_a_receipt_that_is_none_is_refused_not_crashed_over(
    files: EvidenceFiles, report: Report, data: bytes
) -> None:
    files.receipt.write_bytes(data)
    assert failure(report(files.arguments()))[0] == "receipt-form"


def test_the_log_key_may_be_a_file(files: EvidenceFiles, report: Report) -> None:
    in_file = replace(files, log_key=str(files.log / "vkey"))
    assert report(in_file.arguments())[0] == 0


def test_the_log_key_may_have_a_chinese_name(report: Report, tmp_path: Path) -> None:
    story = Story()
    key = SignerKey(name="执录.example/证据", seed=b"l" * 32)
    vkey = tmp_path / "密钥+vkey"
    vkey.write_text(f"{key.verifier}\n", encoding="utf-8")
    files = write_story(tmp_path, story)
    for text in (str(key.verifier), str(vkey)):
        assert failure(report(replace(files, log_key=text).arguments())) == ("log-key", "signature-invalid")


@pytest.mark.parametrize(
    "key",
    ["log.example/zhilu+00000000+AAAA", "no-such-file", "a+b+c", "name+" + "x" * 300 + "+y", "+", ""],
)
def test_a_log_key_that_is_none_is_unusable(files: EvidenceFiles, report: Report, key: str) -> None:
    code, told = report(replace(files, log_key=key).arguments())
    assert (code, told["verified"]) == (2, False)
    assert set(told["error"]) == {"code", "detail"}


@pytest.mark.parametrize("missing", ["clip", "receipt", "checkpoint", "log"])
def test_a_file_that_is_missing_or_a_folder_is_unusable(
    files: EvidenceFiles, report: Report, tmp_path: Path, missing: str
) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        changes: Any = {missing: path}
        code, told = report(replace(files, **changes).arguments())
        assert (code, told["verified"], told["error"]["code"]) == (2, False, "file-unreadable")


def test_what_is_unusable_is_said_on_standard_error(
    files: EvidenceFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(replace(files, clip=tmp_path / "nowhere.mp4").bare_arguments()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("zhilu-verify: file-unreadable:")
    assert "nowhere.mp4" in said.err


def test_a_receipt_that_is_too_large_is_unusable(files: EvidenceFiles, report: Report) -> None:
    files.receipt.write_bytes(b" " * (1 << 20) + b"x")
    code, told = report(files.arguments())
    assert (code, told["error"]["code"]) == (2, "malformed")


@pytest.mark.parametrize("arguments", [[], ["clip.mp4"], ["clip.mp4", "--receipt", "r"], ["--bogus"]])
def test_an_incomplete_command_line_is_unusable(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: zhilu-verify" in capsys.readouterr().err


def installed(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_installed_command_gives_the_same_answers(files: EvidenceFiles) -> None:
    good = installed(files.arguments())
    assert (good.returncode, good.stderr) == (0, b"")
    assert good.stdout.decode().splitlines()[-1] == "核验通过 VERIFIED"
    flip(files.clip, 3)
    bad = installed([*files.arguments(), "--json"])
    assert (bad.returncode, json.loads(bad.stdout)["verified"]) == (1, False)
    files.clip.unlink()
    assert installed(files.arguments()).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
def test_a_terminal_that_cannot_show_chinese_still_gets_the_verdict(
    files: EvidenceFiles, encoding: str
) -> None:
    shown = installed(files.arguments(), PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.rstrip().endswith(b"VERIFIED")
