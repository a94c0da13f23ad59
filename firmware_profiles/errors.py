"""What can be wrong with profiles and with choosing one. ``code`` is stable; the agent reports it at the bay."""

from __future__ import annotations

from typing import ClassVar


class ProfileError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "profile-error"
    retryable: ClassVar[bool] = False


class ProfileMalformedError(ProfileError):
    """A profile does not say what a profile must say. ``key`` is the path of the key at fault."""

    code = "profile-malformed"

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key or 'profile'}: {problem}")
        self.key = key
        self.problem = problem


class ProfileConflict(ProfileError):  # noqa: N818 - a fact about two profiles, named in the documents
    """Two profiles have an equal claim: the same id, two fallbacks, or two best matches of one rank."""

    code = "profile-conflict"


class NoProfileError(ProfileError):
    """Nothing matches and there is no fallback: the recorder is unknown, refused and reported."""

    code = "profile-unknown"


class PasswordUnfitError(ProfileError):
    """The station's password for a family cannot be what its recorders take: too long. It is never shown."""

    code = "password-unfit"


class NothingToTellByError(ProfileError):
    """A recorder from which no profile can be drafted: it shows nothing that others do not."""

    code = "nothing-to-tell-by"
