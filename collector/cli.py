"""``zhilu-collector``. Exit codes: 0 done, 1 it could not be done, 2 usage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MAX_COUNT: Final = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Says what is missing when only the bare package is installed."""
    options = _parser().parse_args(arguments)
    try:
        from collector.commands import execute, find

        command = find(options.command)
    except ModuleNotFoundError as error:
        print(f"zhilu-collector needs {error.name}: pip install 'zhilu[collector]'", file=sys.stderr)
        return 1
    return execute(command, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zhilu-collector",
        description="执录汇聚端：接收、存证、回执。 The collector: takes in, commits, answers with receipts.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    init = _command(commands, "init", "make keys, CA, log and settings / 初始化")
    init.add_argument(
        "--name", required=True, help="name of this collector; becomes the log's name, for ever"
    )
    init.add_argument("--agency", action="append", required=True, help="agency served; repeatable / 执法单位")
    init.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - a server
    init.add_argument("--hostname", action="append", help="name or address stations use; repeatable")
    init.add_argument("--http-port", type=int, default=8443)
    init.add_argument("--mqtt-port", type=int, default=8883)

    _command(commands, "run", "run the collector until stopped / 运行")

    code = _command(commands, "enrolment-code", "code that admits one station, once / 生成注册码")
    code.add_argument("--station", required=True, help="name of the station / 采集站名称")
    code.add_argument(
        "--agency", action="append", help="agencies it speaks for; default: all of the collector's"
    )
    code.add_argument("--valid-hours", type=_count, default=24)

    token = _command(commands, "token", "token for people and systems; shown once / 生成访问令牌")
    token.add_argument("--name", required=True, help="who holds it; appears in the chain of custody")
    token.add_argument(
        "--scope", action="append", required=True, choices=["clips:read", "footage:read", "findings:explain"]
    )
    token.add_argument("--agency", action="append", help="agencies it may read; default: all")
    token.add_argument("--valid-days", type=_count, default=30)

    audit = _command(commands, "audit", "check again everything it keeps; also while it runs / 审计")
    audit.add_argument(
        "--sample", type=_count, help="re-read so many objects and receipts, chosen at random; default: all"
    )
    audit.add_argument(
        "--since", type=Path, help="checkpoint up to which all was audited before / 上次检查点"
    )
    audit.add_argument(
        "--log-key", help="the log's vkey, or a file holding it; default: the one beside the log"
    )

    explain = _command(commands, "explain", "answer for a finding; the collector runs / 说明发现的原因")
    explain.add_argument("finding", help="id of the finding, sha256:… as the audit names it / 发现编号")
    explain.add_argument("--reason", required=True, help="one line, kept in the log for ever / 原因")
    explain.add_argument("--by", required=True, help="who answers for it / 说明人")
    explain.add_argument(
        "--withdraw", action="store_true", help="withdraw the explanation that stands / 撤回说明"
    )

    rebuild = _command(commands, "rebuild", "remake the catalogue from log and objects / 重建目录")
    rebuild.add_argument(
        "--compare", action="store_true", help="change nothing: say whether a fresh one would be the same"
    )
    rebuild.add_argument(
        "--accept-loss", action="store_true", help="also without statements that are missing from objects/"
    )

    _keeping(commands)
    _importing(commands)
    return parser


def _keeping(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = _command(commands, "backup", "back up what cannot be made again; also while it runs / 备份")
    backup.add_argument(
        "--to", type=Path, required=True, help="folder for the backup; again: only what is new"
    )
    how = backup.add_mutually_exclusive_group()
    how.add_argument(
        "--passphrase-file", type=Path, help="include the private keys, sealed with this file's first line"
    )
    how.add_argument("--with-keys", action="store_true", help="include the private keys as they are")
    backup.add_argument("--recheck", action="store_true", help="read again what the backup holds already")

    restore = _command(commands, "restore", "make a collector again from a backup / 恢复")
    restore.add_argument("--from", dest="source", type=Path, required=True, help="folder of the backup")
    restore.add_argument("--passphrase-file", type=Path, help="opens the sealed keys")
    restore.add_argument("--accept-loss", action="store_true", help="go on without objects the backup lacks")
    _continuation(restore)

    resume = _command(commands, "resume", "say that a restored collector may go on / 恢复后续写")
    _continuation(resume)


def _importing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    footage = _command(commands, "import", "import footage from before; the collector runs / 导入历史视音频")
    footage.add_argument("--agency", required=True, help="agency it belongs to / 执法单位")
    footage.add_argument("--from", dest="source", type=Path, required=True, help="folder; only read")
    footage.add_argument(
        "--csv", type=Path, help="table: file path, recorder, officer, start, case, remarks / 清单"
    )
    footage.add_argument("--zone", default="Asia/Shanghai", help="time zone of the table's times")


def _continuation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seen",
        type=Path,
        action="append",
        default=[],
        help="newest known checkpoint; repeatable / 已知最新检查点",
    )
    parser.add_argument(
        "--even-if-older", action="store_true", help="go on although a newer log may have been published"
    )


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, title: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=title, description=title)
    parser.add_argument("--data", type=Path, required=True, help="the collector's data directory / 数据目录")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _count(text: str) -> int:
    """Hours or days: at least one, and few enough for a calendar."""
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(f"1 to {_MAX_COUNT}, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
