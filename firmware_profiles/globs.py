"""Path patterns of profiles, as regular expressions over the display form of a path.

``*``, ``?``, ``[a-z]`` and ``[!a-z]`` stay within one name. A pattern with a slash before its end is anchored at
the volume's root, any other matches a name at any depth. What matches a folder covers everything in it. Letter case
is ignored: recorders use FAT and exFAT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from firmware_profiles.errors import ProfileMalformedError

_TOKEN: Final = re.compile(r"\*|\?|\[(?P<not>!?)(?P<set>[^\[\]!\\/^]+)\]|(?P<char>[^\[\]*?\\])")


def compile_globs(globs: Sequence[str], key: str) -> re.Pattern[str]:
    """One expression for all patterns; use it with ``search``. No patterns match nothing.

    Raises ProfileMalformedError naming ``key``.
    """
    if not globs:
        return re.compile(r"(?!)")
    sources = [_glob_source(glob, f"{key}[{number}]") for number, glob in enumerate(globs)]
    try:
        return re.compile("|".join(sources), re.IGNORECASE)
    except re.error as error:
        raise ProfileMalformedError(key, f"is not a path pattern: {error}") from error


def _glob_source(glob: str, key: str) -> str:
    if glob == "/":
        return r"\A"
    body = glob.strip("/")
    if not body or "" in body.split("/"):
        raise ProfileMalformedError(key, f"is not a path pattern: {glob!r}")
    anchored = "/" in glob.rstrip("/")
    return (r"\A" if anchored else r"(?:\A|/)") + _body_source(body, key) + r"(?:/|\Z)"


def _body_source(body: str, key: str) -> str:
    parts: list[str] = []
    end = 0
    while end < len(body):
        token = _TOKEN.match(body, end)
        if token is None:
            raise ProfileMalformedError(key, f"is not a path pattern at character {end + 1}: {body!r}")
        parts.append(_token_source(token))
        end = token.end()
    return "".join(parts)


def _token_source(token: re.Match[str]) -> str:
    if token["char"]:
        return re.escape(token["char"])
    if token["set"]:
        return f"[^/{token['set']}]" if token["not"] else f"[{token['set']}]"
    return "[^/]*" if token[0] == "*" else "[^/]"
