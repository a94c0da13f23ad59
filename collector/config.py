"""The collector's settings: one TOML file in its data directory, read once into one frozen object."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from collector.ca_files import TrustFolder
from collector.errors import CollectorError
from collector.private_files import PUBLIC_MODE, write_durable
from protocol.errors import ProtocolError
from protocol.ids import parse_name

CONFIG_NAME: Final = "collector.toml"

_KEYS: Final = frozenset({"name", "agencies", "host", "names", "http_port", "mqtt_port"})
_OPTIONAL_KEYS: Final = frozenset({"scrub_days"})
_MAX_CONFIG_BYTES: Final = 65_536
_MAX_SCRUB_DAYS: Final = 3_650


class ConfigError(CollectorError):
    """The settings cannot be used; says which and why. For the operator."""

    code = "config-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """Settings as the file gives them. ``names`` are the host names and addresses stations may use, the first one
    is put into enrolment codes; ``host`` is the address to listen on; within ``scrub_days`` every object is re-read."""

    data_dir: Path
    name: str
    agencies: tuple[str, ...]
    host: str
    names: tuple[str, ...]
    http_port: int
    mqtt_port: int
    scrub_days: int = 30

    def __post_init__(self) -> None:
        if not self.agencies or not self.names:
            raise ConfigError("at least one agency and one host name are needed")
        for text in (self.host, *self.names):
            _quote(text)
        try:
            parse_name(self.name, "name")
            for agency in self.agencies:
                parse_name(agency, "agency")
        except ProtocolError as error:
            raise ConfigError(str(error)) from error
        for port in (self.http_port, self.mqtt_port):
            if not 0 < port < 65_536:
                raise ConfigError(f"{port} is not a TCP port")
        if not 1 <= self.scrub_days <= _MAX_SCRUB_DAYS:
            raise ConfigError(f"scrub_days is 1 to {_MAX_SCRUB_DAYS}, not {self.scrub_days}")

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """Raises ConfigError, also when there is no collector in ``data_dir`` yet."""
        path = data_dir / CONFIG_NAME
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_CONFIG_BYTES).decode()
            values = tomllib.loads(text)
        except FileNotFoundError as error:
            raise ConfigError(f"no collector in {data_dir}: run zhilu-collector init first") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        return cls._from_toml(data_dir, values)

    @classmethod
    def _from_toml(cls, data_dir: Path, values: Mapping[str, object]) -> Self:
        if set(values) - _OPTIONAL_KEYS != _KEYS:
            raise ConfigError(f"{CONFIG_NAME} must have exactly the keys {', '.join(sorted(_KEYS))}")
        scrub_days = {"scrub_days": _integer(values, "scrub_days")} if "scrub_days" in values else {}
        return cls(
            data_dir=data_dir,
            name=_text(values, "name"),
            agencies=_texts(values, "agencies"),
            host=_text(values, "host"),
            names=_texts(values, "names"),
            http_port=_integer(values, "http_port"),
            mqtt_port=_integer(values, "mqtt_port"),
            **scrub_days,
        )

    def store(self) -> None:
        """Write the file, durably."""
        lines = [
            "# Settings of this collector. Change them while it is stopped; `name` never changes: it is the log's.",
            f"name = {_quote(self.name)}",
            f"agencies = {_quote_all(self.agencies)}",
            f"host = {_quote(self.host)}",
            f"names = {_quote_all(self.names)}",
            f"http_port = {self.http_port}",
            f"mqtt_port = {self.mqtt_port}",
            f"scrub_days = {self.scrub_days}",
        ]
        write_durable(self.path, ("\n".join(lines) + "\n").encode(), mode=PUBLIC_MODE)

    @property
    def path(self) -> Path:
        """The file itself; there is one once the collector is founded."""
        return self.data_dir / CONFIG_NAME

    @property
    def url(self) -> str:
        """The base URL stations are told."""
        host = f"[{self.names[0]}]" if ":" in self.names[0] else self.names[0]
        return f"https://{host}:{self.http_port}"

    @property
    def log_origin(self) -> str:
        """Name of the log and of its key."""
        return f"zhilu/{self.name}"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def objects_dir(self) -> Path:
        return self.data_dir / "objects"

    @property
    def staging_dir(self) -> Path:
        return self.data_dir / "staging"

    @property
    def broker_dir(self) -> Path:
        return self.data_dir / "broker"

    @property
    def catalogue_path(self) -> Path:
        return self.data_dir / "catalogue.sqlite"

    @property
    def registers_path(self) -> Path:
        return self.data_dir / "registers.sqlite"

    @property
    def scrub_cursor_path(self) -> Path:
        return self.data_dir / "scrub.json"

    @property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @property
    def trust(self) -> TrustFolder:
        return TrustFolder(path=self.data_dir / "tls")


def _text(values: Mapping[str, object], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} must be a text")
    return value


def _texts(values: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = values[key]
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ConfigError(f"{key} must be a list of texts")
    return tuple(value)


def _integer(values: Mapping[str, object], key: str) -> int:
    value = values[key]
    if type(value) is not int:
        raise ConfigError(f"{key} must be a number")
    return value


def _quote(text: str) -> str:
    if "'" in text or not text.isprintable():  # a TOML literal string holds everything else
        raise ConfigError("quotes and control characters cannot stand in a setting")
    return f"'{text}'"


def _quote_all(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_quote(text) for text in texts) + "]"
