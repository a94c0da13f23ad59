"""The station's settings: defaults, then the TOML file in its data directory, read once into one frozen object."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.core.release import ReleaseSettings
from agent.errors import AgentError
from protocol.errors import MalformedError
from protocol.ids import parse_name

CONFIG_NAME: Final = "agent.toml"

_MAX_CONFIG_BYTES: Final = 65_536
_MIB: Final = 1024 * 1024
_MAX_RESERVE_MIB: Final = 1024 * 1024
"""1 TiB: more than the disk of most stations."""

_MAX_KEEP_DAYS: Final = 36_500
_KEYS: Final = frozenset(
    {
        "dock_dir", "zone", "settle_s", "bays_at_once", "uploads_at_once", "reserve_mib", "keep_days", "holders",
        "profiles_dir", "families_on", "mounter", "release",
    }
)  # fmt: skip
_RELEASE_KEYS: Final = frozenset({"enabled", "minimum_age_hours", "whole_visits", "keep_marked", "bays"})
_MAX_AGE_HOURS: Final = 24 * _MAX_KEEP_DAYS


class ConfigError(AgentError):
    """The settings cannot be used; says which and why."""

    code = "config-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Settings of one station. ``dock_dir`` is the folder below which volumes appear; ``zone`` is the local time
    that recorders without a zone are set to; ``holders`` maps recorder numbers to agencies; without ``release`` nothing
    is ever erased from a recorder. ``profile_folders`` hold the station's own firmware profiles; ``families_on`` are
    those that may be talked with though nobody has recorded a trial; ``mounter`` is the mount helper's socket."""

    data_dir: Path
    dock_dir: Path
    zone_name: str = "Asia/Shanghai"
    settle_s: float = 2.0
    bays_at_once: int = 4
    uploads_at_once: int = 4
    reserve_bytes: int = 1024 * _MIB
    keep_days: int = 7
    holders: Mapping[str, str] = field(default_factory=dict)
    profile_folders: tuple[Path, ...] = ()
    families_on: frozenset[str] = frozenset()
    mounter: Path = Path("/run/zhilu/mounter.sock")
    release: ReleaseSettings | None = None

    def __post_init__(self) -> None:
        if not (0 < self.settle_s <= 3600 and 0 < self.bays_at_once <= 64 and 0 < self.uploads_at_once <= 32):
            raise ConfigError("settle_s is 0-3600 s, bays_at_once 1-64, uploads_at_once 1-32")
        if not (0 <= self.reserve_bytes <= _MAX_RESERVE_MIB * _MIB and 0 <= self.keep_days <= _MAX_KEEP_DAYS):
            raise ConfigError(f"reserve_mib is 0-{_MAX_RESERVE_MIB}, keep_days 0-{_MAX_KEEP_DAYS}")
        _ = self.zone

    @property
    def zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone_name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(f"unknown time zone {self.zone_name!r}") from error

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """Defaults where there is no file. Raises ConfigError for a file that cannot be used."""
        path = data_dir / CONFIG_NAME
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_CONFIG_BYTES + 1)
            if len(data) > _MAX_CONFIG_BYTES:
                raise ConfigError(f"{path} has more than {_MAX_CONFIG_BYTES} bytes")
            values = tomllib.loads(data.decode())
        except FileNotFoundError:
            values = {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        return cls._from_toml(data_dir, values)

    @classmethod
    def _from_toml(cls, data_dir: Path, values: Mapping[str, object]) -> Self:
        unknown = set(values) - _KEYS
        if unknown:
            raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
        dock_dir = Path(_text(values, "dock_dir", str(data_dir / "dock")))
        return cls(
            data_dir=data_dir,
            dock_dir=dock_dir if dock_dir.is_absolute() else data_dir / dock_dir,
            zone_name=_text(values, "zone", "Asia/Shanghai"),
            settle_s=_number(values, "settle_s", 2.0),
            bays_at_once=_whole(values, "bays_at_once", 4),
            uploads_at_once=_whole(values, "uploads_at_once", 4),
            reserve_bytes=_whole(values, "reserve_mib", 1024) * _MIB,
            keep_days=_whole(values, "keep_days", 7),
            holders=_holders(values.get("holders", {})),
            profile_folders=tuple(data_dir / folder for folder in _texts(values, "profiles_dir", "folders")),
            families_on=frozenset(_texts(values, "families_on", "names of families")),
            mounter=data_dir / _text(values, "mounter", "/run/zhilu/mounter.sock"),
            release=_release(values.get("release", {})),
        )

    @property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @property
    def rendering_dir(self) -> Path:
        """Unfinished renditions; on the spool's disk, so that finished ones move without copying."""
        return self.data_dir / "rendering"

    @property
    def journal_path(self) -> Path:
        return self.data_dir / "journal.sqlite"

    @property
    def bays_path(self) -> Path:
        """Which USB ports are which bays; without it the station has no USB bays."""
        return self.data_dir / "bays.toml"

    @property
    def secrets_path(self) -> Path:
        """Passwords of recorders, by family."""
        return self.data_dir / "secrets.toml"

    @property
    def status_path(self) -> Path:
        return self.data_dir / "status.json"


def _text(values: Mapping[str, object], key: str, default: str) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} must be a text")
    return value


def _number(values: Mapping[str, object], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key} must be a number")
    return value


def _whole(values: Mapping[str, object], key: str, default: int) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{key} must be a whole number")
    return value


def _truth(values: Mapping[str, object], key: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false")
    return value


def _release(value: object) -> ReleaseSettings | None:
    """Off unless it says ``enabled = true``; whatever else it says must be right all the same."""
    if not isinstance(value, dict):
        raise ConfigError("release is a table")
    unknown = set(value) - _RELEASE_KEYS
    if unknown:
        raise ConfigError(f"unknown settings of release: {', '.join(sorted(unknown))}")
    hours = _whole(value, "minimum_age_hours", 0)
    if not 0 <= hours <= _MAX_AGE_HOURS:
        raise ConfigError(f"minimum_age_hours is 0-{_MAX_AGE_HOURS}")
    settings = ReleaseSettings(
        minimum_age=timedelta(hours=hours),
        whole_visits=_truth(value, "whole_visits", True),
        keep_marked=_truth(value, "keep_marked", False),
        bays=_bays(value.get("bays")),
    )
    return settings if _truth(value, "enabled", False) else None


def _texts(values: Mapping[str, object], key: str, what: str) -> list[str]:
    value = values.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise ConfigError(f"{key} is a list of {what}")
    return value


def _bays(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(bay, str) for bay in value):
        raise ConfigError("bays is a list of names of bays")
    return frozenset(value)


def _holders(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(agency, str) for agency in value.values()):
        raise ConfigError("holders maps recorder numbers to agencies")
    for agency in value.values():
        try:
            parse_name(agency, "agency")
        except MalformedError as error:
            raise ConfigError(f"holders: {error}") from error
    return value
