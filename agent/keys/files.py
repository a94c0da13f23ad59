"""Small durable files of the station; those that hold keys are readable by nobody else."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from agent.keys.errors import KeyFileDamagedError, KeyFileOpenError

_PRIVATE_MODE: Final = 0o600
_OTHERS: Final = 0o077


def store_file(path: Path, data: bytes) -> None:
    """Replace ``path`` (0600): after return it survives a power cut, before it the old file stands.

    Raises OSError; then the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def load_private(path: Path, *, otherwise: str = "enrol the station anew") -> bytes | None:
    """None if there is no such file. Raises KeyFileOpenError if others may read or write it; ``otherwise`` is what
    to do if somebody may have copied it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise KeyFileOpenError(
                    f"{path} may be read or written by others (mode {mode & 0o777:04o}): if nobody can have copied "
                    f"it, chmod 600 it, else {otherwise}"
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileDamagedError(f"{path} cannot be read: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
