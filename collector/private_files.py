"""Small files that must survive a power cut and, where they hold a key, be readable by nobody else."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import ClassVar, Final

from collector.errors import CollectorError

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
_OTHERS: Final = 0o077


class KeyFileError(CollectorError):
    """A key file is missing, unreadable, or readable by others. Raised at start, to the operator: names the path."""

    code: ClassVar[str] = "key-file"


def write_durable(path: Path, data: bytes, *, mode: int = PRIVATE_MODE) -> None:
    """Replace ``path`` by ``data``: after return it survives a power cut, before it the old file stands.

    Raises OSError; then the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)  # the umask must not decide
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Raises KeyFileError if the file is missing or anybody but its owner may read or write it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise KeyFileError(
                    f"{path} may be read or written by others (mode {mode & 0o777:04o}): chmod 600 it"
                )
            return file.read()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
