"""The collector's two Ed25519 keys as PKCS #8 PEM files, 0600: the log's and the one for its own statements."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from collector.private_files import KeyFileError, read_private, write_durable

_LOG_KEY: Final = "log.key"
_STATEMENT_KEY: Final = "statement.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorKeys:
    """Seeds of 32 bytes; never shown or logged."""

    log_seed: bytes = field(repr=False)
    statement_seed: bytes = field(repr=False)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make both keys unless they are there already. Raises KeyFileError for files that cannot be used."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (_LOG_KEY, _STATEMENT_KEY):
            if not (folder / name).exists():
                write_durable(folder / name, _to_pem(secrets.token_bytes(32)))
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises KeyFileError when a key is missing, damaged or readable by others."""
        return cls(log_seed=_load(folder / _LOG_KEY), statement_seed=_load(folder / _STATEMENT_KEY))


def _to_pem(seed: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(path: Path) -> bytes:
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} does not hold an Ed25519 key")
    return key.private_bytes_raw()
