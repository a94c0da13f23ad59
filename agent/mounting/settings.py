"""The mount helper's own settings: a file only root may write, because it says what root does for somebody else."""

from __future__ import annotations

import os
import pwd
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.mounting.filesystems import FileSystem
from agent.mounting.sysfs import PORT_PATH

SETTINGS_PATH: Final = Path("/etc/zhilu/mounter.toml")
SOCKET_PATH: Final = Path("/run/zhilu/mounter.sock")
BASE_PATH: Final = Path("/run/zhilu/bays")

MAX_BAYS: Final = 256
"""More than any station has, also when each bay has two port paths, one for USB 2 and one for USB 3."""

_MAX_BYTES: Final = 65_536
_KEYS: Final = frozenset({"agent_user", "bays", "base", "socket", "file_systems"})
_PLACE: Final = re.compile(r"(?:/[A-Za-z0-9_.-]+)+")
"""Directories go over the socket and into the mount table: plain characters only."""


class MounterConfigError(AgentError):
    """The mount helper's settings cannot be used; says which and why."""

    code = "mounter-config-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class MounterSettings:
    """``user_id`` and ``group_id`` are the agent's; ``bays`` are port paths."""

    user_id: int
    group_id: int
    bays: frozenset[str]
    base: Path = BASE_PATH
    socket: Path = SOCKET_PATH
    file_systems: frozenset[FileSystem] = frozenset(FileSystem)


def load_settings(path: Path = SETTINGS_PATH) -> MounterSettings:
    """Raises MounterConfigError, also for a file that others than root may change."""
    try:
        with path.open("rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            _check_owner(path.parent, path.parent.stat())
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise MounterConfigError(f"{path} has more than {_MAX_BYTES} bytes")
        return parse_settings(tomllib.loads(data.decode()))
    except (OSError, ValueError) as error:
        raise MounterConfigError(f"{path} cannot be used: {error}") from error


def parse_settings(values: Mapping[str, object]) -> MounterSettings:
    """Raises MounterConfigError."""
    unknown = set(values) - _KEYS
    if unknown:
        raise MounterConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
    agent_user = values.get("agent_user")
    if not isinstance(agent_user, str):
        raise MounterConfigError("agent_user names the user the agent runs as")
    user = _user(agent_user)
    return MounterSettings(
        user_id=user.pw_uid,
        group_id=user.pw_gid,
        bays=_bays(values.get("bays")),
        base=_place(values, "base", BASE_PATH),
        socket=_place(values, "socket", SOCKET_PATH),
        file_systems=_file_systems(values.get("file_systems")),
    )


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o022:
        raise MounterConfigError(f"{path} must belong to root, and nobody else may write to it")


def _user(name: str) -> pwd.struct_passwd:
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise MounterConfigError(f"agent_user: there is no user {name!r}") from error
    if user.pw_uid == 0:
        raise MounterConfigError("agent_user: the agent does not run as root")
    return user


def _bays(value: object) -> frozenset[str]:
    bays = _texts(value, "bays")
    wrong = [bay for bay in bays if not PORT_PATH.fullmatch(bay)]
    if wrong or not 0 < len(bays) <= MAX_BAYS:
        raise MounterConfigError(f"bays: 1 to {MAX_BAYS} port paths such as 1-2.4, not {wrong or bays}")
    return frozenset(bays)


def _file_systems(value: object) -> frozenset[FileSystem]:
    if value is None:
        return frozenset(FileSystem)
    try:
        return frozenset(FileSystem(name) for name in _texts(value, "file_systems"))
    except ValueError as error:
        raise MounterConfigError(f"file_systems: some of {', '.join(FileSystem)}") from error


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise MounterConfigError(f"{name} is a list of texts")
    return [str(each) for each in value]


def _place(values: Mapping[str, object], name: str, default: Path) -> Path:
    value = values.get(name, str(default))
    if not isinstance(value, str) or not _PLACE.fullmatch(value) or ".." in value.split("/"):
        raise MounterConfigError(f"{name} is an absolute path of letters, digits, dots, - and _")
    return Path(value)
