"""Passwords of recorders, by family: the port and its file implementation.

Guarantee: a password leaves a ``Password`` by ``reveal`` alone. Neither ``repr`` nor ``str`` nor an error of this
module tells it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final, NoReturn, Protocol

from agent.keys.errors import SecretsDamagedError
from agent.keys.files import load_private

SECRETS_NAME: Final = "secrets.toml"

MAX_PASSWORD_BYTES: Final = 64
"""Recorders take 6 to 16 characters."""

_TEXT: Final = re.compile("[ -~]+")
_PLACE: Final = re.compile(r"at (?:line [0-9]+, column [0-9]+|end of document)")


class Password:
    """A recorder's password (设备口令)."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Only to put it into what is sent to the recorder, and to find it in what comes back."""
        return self._value

    def __repr__(self) -> str:
        return "Password(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a password is not written anywhere")


class Secrets(Protocol):
    """The station's secret store (口令库)."""

    def password(self, family: str) -> Password | None:
        """For recorders of a profile's family; None if the station has none. Blocks briefly. Raises KeyStoreError."""
        ...


class FileSecrets:
    """``secrets.toml`` in the data directory, mode 0600, read anew each time::

    [passwords]
    some_family = "000000"
    other_family = { hex = "3132" }
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def password(self, family: str) -> Password | None:
        value = self._passwords().get(family)
        return None if value is None else Password(self._bytes(family, value))

    def _passwords(self) -> dict[str, object]:
        data = load_private(self._path, otherwise="change the recorders' passwords")
        if data is None:
            return {}
        try:
            tables = tomllib.loads(data.decode("utf-8"))
        except ValueError as error:
            place = _PLACE.search(str(error))
            raise self._damaged(f"is not TOML {place[0] if place else ''}".rstrip()) from None
        passwords = tables.get("passwords", {})
        if set(tables) - {"passwords"} or not isinstance(passwords, dict):
            raise self._damaged("has one table, [passwords]")
        return passwords

    def _bytes(self, family: str, value: object) -> bytes:
        if isinstance(value, str) and _TEXT.fullmatch(value) and len(value) <= MAX_PASSWORD_BYTES:
            return value.encode("ascii")
        digits = value.get("hex") if isinstance(value, dict) and set(value) == {"hex"} else None
        if isinstance(digits, str) and re.fullmatch("([0-9A-Fa-f]{2})+", digits):
            decoded = bytes.fromhex(digits)
            if len(decoded) <= MAX_PASSWORD_BYTES:
                return decoded
        raise self._damaged(
            f"passwords.{family} is 1 to {MAX_PASSWORD_BYTES} printable ASCII characters, or bytes as {{ hex = ... }}"
        )

    def _damaged(self, problem: str) -> SecretsDamagedError:
        return SecretsDamagedError(f"{self._path}: {problem}")
