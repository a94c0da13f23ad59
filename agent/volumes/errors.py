"""What can go wrong with a recorder's volume. Codes of files become the reason in a signed "unreadable" fact."""

from __future__ import annotations

import errno
from typing import ClassVar

from agent.errors import AgentError


class VolumeError(AgentError):
    """Something about a volume or a file on it."""

    code = "volume-error"


class VolumeVanishedError(VolumeError):
    """The volume was unplugged, unmounted or replaced. It may come back as a new visit."""

    code = "volume-vanished"
    retryable: ClassVar[bool] = True


class VolumeUnreadableError(VolumeError):
    """The volume is there but its root cannot be listed."""

    code = "volume-unreadable"


class TooManyFilesError(VolumeError):
    """More files than a listing has rows; the volume cannot be inventoried as a whole."""

    code = "too-many-files"


class PathUnsafeError(VolumeError):
    """A path that leaves the volume, leads over a link, or ends at something that is no regular file."""

    code = "path-unsafe"


class FileChangedError(VolumeError):
    """The file changed while it was read, so the bytes are of no one state of it. It can be read again."""

    code = "file-changed-while-read"
    retryable: ClassVar[bool] = True


class FileUnreadableError(VolumeError):
    """The operating system refused to open or read the file. ``errno`` is its reason."""

    code = "file-unreadable"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, errno_value: int) -> None:
        super().__init__(f"{message}: {errno.errorcode.get(errno_value, errno_value)}")
        self.errno = errno_value
