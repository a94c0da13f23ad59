"""``zhilu-agent``. Exit codes: 0 done, 1 it could not be done, 2 usage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Says what is missing when only the bare package is installed."""
    options = _parser().parse_args(arguments)
    try:
        from agent.commands import execute, find

        command = find(options.command)
    except ModuleNotFoundError as error:
        print(f"zhilu-agent needs {error.name}: pip install 'zhilu[agent]'", file=sys.stderr)
        return 1
    return execute(command, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zhilu-agent",
        description="执录采集站：插上记录仪即可离开。 The docking station: dock the recorder and walk away.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    enroll = _command(commands, "enroll", "enrol this station with a code / 注册本采集站")
    enroll.add_argument("code", help="the enrolment code; - reads it from standard input / 注册码")
    _command(commands, "run", "run the station until stopped / 运行")
    _command(commands, "status", "what the station is doing / 状态")
    receipts = _command(commands, "receipts", "write kept receipts as single files / 导出回执")
    receipts.add_argument("--out", type=Path, required=True, help="folder to write to / 目标文件夹")
    receipts.add_argument(
        "--of",
        action="append",
        default=[],
        metavar="SHA256",
        help="only for this file or statement; repeatable / 只导出该文件（或声明）的回执",
    )
    _add_bays(commands)
    _add_profiles(commands)
    _command(commands, "checkpoint", "newest checkpoint this station has verified / 本站见过的最新检查点")
    rescue = _command(commands, "rescue", "deliver a dead station's spool from here / 抢救已损坏的采集站")
    rescue.add_argument(
        "--work", type=Path, required=True, help="folder for the copy of its journal and for the receipts"
    )
    rescue.add_argument(
        "--identity",
        type=Path,
        help="data directory of another station of the agency, if the dead one's keys are lost or expired",
    )
    rescue.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="send these objects again although they were receipted: any text with their sha256:… in it, "
        "such as what zhilu-collector audit says of missing ones",
    )
    rescue.add_argument(
        "--patience-s", type=float, default=120.0, help="give up when nothing moves for so long"
    )
    return parser


def _add_bays(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    title = "which USB ports are which bays / 采集口"
    tasks = commands.add_parser("bays", help=title, description=title).add_subparsers(
        dest="task", required=True
    )
    _command(tasks, "list", "bays, their ports, and what is plugged in / 列出采集口")
    learn = _command(tasks, "learn", "name bays by plugging something into each / 逐个学习采集口")
    learn.add_argument("--prefix", default="A", help="bays are named A01, A02 … / 名称前缀")


def _add_profiles(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    title = "firmware profiles of recorder families / 固件配置"
    tasks = commands.add_parser("profiles", help=title, description=title).add_subparsers(
        dest="task", required=True
    )
    _profile_task(tasks, "list", "all profiles of this station / 列出固件配置")
    check = _profile_task(tasks, "check", "look for mistakes, and try recorded listings / 检查固件配置")
    check.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="of one family, or of several; none: all profiles of this station / 配置文件夹",
    )
    test = _profile_task(tasks, "test", "what would be made of a recorded listing / 用目录样本试验")
    test.add_argument("family", metavar="FAMILY", help="id, or folder with a profile.toml / 配置名或文件夹")
    test.add_argument(
        "listings",
        nargs="*",
        type=Path,
        metavar="LISTING",
        help="recorded listings; none: those of the family / 目录样本文件",
    )
    new = _profile_task(tasks, "new", "begin a profile from a recorder / 为新型号建立固件配置")
    new.add_argument("folder", type=Path, metavar="FOLDER", help="to be made; its name is the family's id")
    source = new.add_mutually_exclusive_group(required=True)
    source.add_argument("--bay", help="bay or port it is plugged in at; needs --data / 采集口")
    source.add_argument(
        "--volume", type=Path, help="folder with its files: a mounted card, or a copy / 存储卷"
    )


def _profile_task(
    tasks: argparse._SubParsersAction[argparse.ArgumentParser], name: str, title: str
) -> argparse.ArgumentParser:
    parser = tasks.add_parser(name, help=title, description=title)
    parser.add_argument(
        "--data",
        type=Path,
        help="the station's data directory: its own profiles count too / 数据目录",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, title: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=title, description=title)
    parser.add_argument("--data", type=Path, required=True, help="the station's data directory / 数据目录")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
