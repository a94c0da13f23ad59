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


class VolumeReadOnlyError(VolumeError):
    """The volume cannot be written: a lock switch, a medium that has worn out, a mount that forbids it."""

    code = "volume-read-only"


class VolumeDirtyError(VolumeError):
    """The volume's file system was not left in order; writing to it could destroy what is still on it."""

    code = "volume-dirty"


class VolumeReplacedError(VolumeError):
    """Opened for release, the volume is not the one that was read."""

    code = "volume-changed"


class ErasureUnsureError(VolumeError):
    """Files were erased, but the volume could not confirm that this is durable. The next visit's listing tells."""

    code = "erasure-unsure"


class FileGoneError(VolumeError):
    """The file to erase is not there any more."""

    code = "file-gone"


class FileReplacedError(VolumeError):
    """Under the name of the file to erase lies another one, or another version of it. It was not touched."""

    code = "file-changed"


class FileNotErasedError(VolumeError):
    """The operating system refused to erase the file, or says so. ``errno`` is its reason."""

    code = "file-not-erased"

    def __init__(self, message: str, *, errno_value: int) -> None:
        super().__init__(f"{message}: {errno.errorcode.get(errno_value, errno_value)}")
        self.errno = errno_value
