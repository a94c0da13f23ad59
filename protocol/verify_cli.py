"""``zhilu-verify``: a file and its receipt against a log key given separately; offline.

The one module of this package that opens files: it measures the file, reads log tiles, and prints what
``protocol.verify`` found. Exit codes: 0 everything given was checked and holds; 1 something does not hold;
2 the command line or a file cannot be used.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol.digest import Digest
from protocol.errors import MalformedError, ProtocolError
from protocol.limits import MAX_ENTRY_BYTES, MAX_NOTE_BYTES, MAX_RECEIPT_BYTES
from protocol.log_reading import LogCopy
from protocol.note import VerifierKey
from protocol.tiles import TILE_WIDTH, Tile
from protocol.verify import FAILED, PASSED, Check, Content, accepted, check_receipt

_BUFFER_BYTES: Final = 1 << 20
MAX_TILE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
"""The largest file of an honest log: a bundle of 256 entries, each behind its length."""

_MARKS: Final = {PASSED: "通过 ok     ", FAILED: "失败 FAILED "}
_TITLES: Final = {
    "receipt-form": "回执格式",
    "log-key": "日志签名",
    "inclusion": "日志收录",
    "keys": "签名密钥",
    "chain": "证据链",
    "content": "文件内容",
    "log-history": "日志历史",
    "log-revocations": "密钥吊销",
    "witness": "见证检查点",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``zhilu-verify``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # terminals without Chinese get their verdict too
    options = _parser().parse_args(arguments)
    try:
        checks = _check(options)
    except (OSError, ProtocolError) as error:
        return _unusable(error, as_json=options.json)
    verdict = accepted(checks)
    print(_as_json(checks, verdict) if options.json else _as_text(checks, verdict))
    return 0 if verdict else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zhilu-verify",
        description="离线核验：文件与回执，对照另行取得的日志公钥。"
        " Check a file and its receipt offline against a log key you got separately.",
        epilog="Exit codes: 0 everything given holds, 1 something does not, 2 not usable.",
    )
    parser.add_argument("file", type=Path, help="the original or rendition / 待核验的文件")
    parser.add_argument("--receipt", type=Path, required=True, help="its receipt / 回执")
    parser.add_argument("--log-key", required=True, help="the log's vkey, or a file holding it / 日志公钥")
    parser.add_argument("--log", type=Path, help="a copy of the log (tlog-tiles directory) / 日志副本目录")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint seen earlier / 先前见证的检查点")
    parser.add_argument("--json", action="store_true", help="machine-readable report")
    return parser


def _check(options: argparse.Namespace) -> list[Check]:
    return check_receipt(
        _read(options.receipt, MAX_RECEIPT_BYTES),
        _log_key(options.log_key),
        content=_measure(options.file),
        log=None if options.log is None else _log_copy(options.log),
        witnessed=None if options.checkpoint is None else _read(options.checkpoint, MAX_NOTE_BYTES),
    )


def _log_key(text: str) -> VerifierKey:
    if "+" not in text or Path(text).is_file():
        text = _read(Path(text), MAX_NOTE_BYTES).decode("utf-8", "replace")
    return VerifierKey.parse(text.strip())


def _measure(path: Path) -> Content:
    digest, size_bytes, buffer = hashlib.sha256(), 0, bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
            size_bytes += count
    return Content(digest=Digest.sha256(digest.hexdigest()), size_bytes=size_bytes)


def _log_copy(folder: Path) -> LogCopy:
    def read(tile: Tile) -> bytes:
        try:
            return _read(folder / tile.path, MAX_TILE_BYTES)
        except OSError as error:
            raise MalformedError(f"the log at hand lacks {tile.path}: {error.strerror}") from error

    return LogCopy(_read(folder / "checkpoint", MAX_NOTE_BYTES), read)


def _read(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise MalformedError(f"{path} has more than {max_bytes} bytes")
    return data


def _as_text(checks: Sequence[Check], verdict: bool) -> str:
    lines = [
        f"{_MARKS.get(check.outcome, '未查 skipped')} {_TITLES[check.name]} {check.name}: {_printable(check.detail)}"
        for check in checks
    ]
    lines.append("核验通过 VERIFIED" if verdict else "核验不通过 NOT VERIFIED")
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Texts quote what was received: an escape sequence in it must not repaint the verdict."""
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


def _as_json(checks: Sequence[Check], verdict: bool) -> str:
    return json.dumps(
        {
            "verified": verdict,
            "checks": [
                {"name": check.name, "outcome": check.outcome, "detail": check.detail, "code": check.code}
                for check in checks
            ],
        },
        indent=2,
    )


def _unusable(error: OSError | ProtocolError, *, as_json: bool) -> int:
    code = error.code if isinstance(error, ProtocolError) else "file-unreadable"
    if as_json:
        print(json.dumps({"verified": False, "error": {"code": code, "detail": str(error)}}))
    else:
        print(f"zhilu-verify: {code}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
