"""``zhilu-mounter``, the only program with privileges. Exit codes: 0 done, 1 it could not be done, 2 usage."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.mounting import kernel, privileges
from agent.mounting.bay import Machine
from agent.mounting.filesystems import FileSystem
from agent.mounting.service import MounterService, MountIds
from agent.mounting.settings import (
    SETTINGS_PATH,
    MounterConfigError,
    MounterSettings,
    load_settings,
)
from agent.mounting.setup import installation
from agent.mounting.sysfs import PORT_PATH

_log: Final = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    if options.command == "setup":
        print(installation(user=options.user, bays=options.bay, program=Path(sys.argv[0])))
        return 0
    try:
        _run(load_settings(options.settings))
    except (MounterConfigError, OSError) as error:
        print(f"zhilu-mounter: {error}", file=sys.stderr)
        return 1
    return 0


def _run(settings: MounterSettings) -> None:
    """Until SIGTERM or SIGINT. Raises OSError."""
    settings, owners = _owners(settings)
    privileges.join_group(settings.group_id)
    service = MounterService(settings, Machine(owners=owners, next_mount_id=MountIds()))
    service.open()
    privileges.keep_only_mounting()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    threading.Thread(target=service.serve, name="mounter-listener", daemon=True).start()
    _log.info("mounter.ready")
    stopped.wait()
    service.close()


def _owners(settings: MounterSettings) -> tuple[MounterSettings, int | None]:
    """Without user namespaces nobody could read an ext4 volume, so none is mounted."""
    if FileSystem.EXT4 not in settings.file_systems:
        return settings, None
    try:
        return settings, kernel.owner_map(user_id=settings.user_id, group_id=settings.group_id)
    except OSError as error:
        _log.warning("ext4 is switched off, there are no user namespaces: %s", error)
        return replace(settings, file_systems=settings.file_systems - {FileSystem.EXT4}), None


def _port_path(text: str) -> str:
    if not PORT_PATH.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no port path such as 1-2.4")
    return text


def _user(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a user")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zhilu-mounter",
        description="为采集站挂载记录仪，只读优先。 Mounts recorders, read-only until their release.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve the agent until stopped / 运行")
    run.add_argument("--settings", type=Path, default=SETTINGS_PATH, help="settings / 设置文件")
    setup = commands.add_parser("setup", help="print what to install; changes nothing / 打印安装内容")
    setup.add_argument(
        "--user", default="zhilu-agent", type=_user, help="user the agent runs as / 采集站用户"
    )
    setup.add_argument(
        "--bay",
        action="append",
        default=[],
        type=_port_path,
        metavar="PORT",
        help="port path of a bay such as 1-2.4; repeatable / 采集口的 USB 端口",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
