"""Path patterns of profiles, as regular expressions over the display form of a path.

``*``, ``?``, ``[a-z]`` and ``[!a-z]`` stay within one name. A pattern with a slash before its end is anchored at
the volume's root, any other matches a name at any depth. What matches a folder covers everything in it. Letter case
is ignored: recorders use FAT and exFAT.

Time is linear in the length of the path, whatever the pattern: between two stars the first place that fits is always
as good as any later one, so the expressions are written without a way back (atomic groups).
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
    return "/".join(_name_source(name, key) for name in body.split("/"))


def _name_source(name: str, key: str) -> str:
    """One name: what stands before the first star, then each star with what stands behind it, the last at the end."""
    first, *later = _chunks(name, key)
    if not later:
        return first
    *middle, last = later
    stars = "".join(f"(?>[^/]*?{chunk})" for chunk in middle if chunk)
    return first + stars + f"(?>[^/]*?{last}(?=/|\\Z))"


def _chunks(name: str, key: str) -> list[str]:
    """The expressions between the stars; each matches a fixed number of characters."""
    chunks, end = [""], 0
    while end < len(name):
        token = _TOKEN.match(name, end)
        if token is None or "--" in (token["set"] or ""):
            raise ProfileMalformedError(key, f"is not a path pattern at character {end + 1}: {name!r}")
        if token[0] == "*":
            chunks.append("")
        else:
            chunks[-1] += _token_source(token)
        end = token.end()
    return chunks


def _token_source(token: re.Match[str]) -> str:
    if token["char"]:
        return re.escape(token["char"])
    if token["set"]:
        members = re.sub(r"[&~|]", r"\\\g<0>", token["set"])
        return f"[^/{members}]" if token["not"] else f"(?!/)[{members}]"
    return "[^/]"
