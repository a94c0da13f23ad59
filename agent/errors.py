"""One error tree for the station's side.

Every error carries a stable ``code`` (lower-case words joined by hyphens) that reaches logs, the local page and
signed facts ("unreadable, why"). Codes are never renamed or reused. ``retryable`` says whether the same attempt can
succeed later without anybody changing anything.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Root of the tree. ``str()`` is one English sentence that says what was expected and what was found."""

    code: ClassVar[str] = "agent-error"
    retryable: ClassVar[bool] = False


class MediaError(AgentError):
    """Media facts or a rendition could not be made. The original is untouched and stays what it is."""

    code = "media-error"


class MediaUnreadableError(MediaError):
    """The bytes are not media of a known container, or too damaged to describe."""

    code = "media-unreadable"


class MediaFormatRefusedError(MediaUnreadableError):
    """The bytes are of a container that is not on the list, such as a playlist that points at other files."""

    code = "media-format-refused"


class MediaTimeoutError(MediaError):
    """The child process did not end before its deadline. Another time, on a quieter station, it may."""

    code = "media-timeout"
    retryable = True


class MediaLimitError(MediaError):
    """A named limit of ``agent.media.limits`` was reached: memory, CPU time, file size, pixels, streams, output."""

    code = "media-limit"


class SandboxUnavailableError(MediaError):
    """The sandbox or a tool it runs is missing or not allowed here, so nothing was run."""

    code = "sandbox-unavailable"


class RenditionFailedError(MediaError):
    """ffmpeg failed, or what it made is not what was planned. Nothing was published."""

    code = "rendition-failed"


class RenditionShortError(RenditionFailedError):
    """The rendition is sound but lasts less than the original claims: the original is probably cut off."""

    code = "rendition-short"
