"""The first version of a family's profile, from a recorder that was plugged in: what it shows is filled in, what only a
person can know is left as a comment. Pure.

A draft is a valid profile at once: it is recognised by what the recorder showed, sends nothing, and releases nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from firmware_profiles.device import DescribedDevice
from firmware_profiles.errors import NothingToTellByError, ProfileMalformedError
from firmware_profiles.shape import MEDIA_KINDS

ID: Final = re.compile("[a-z][a-z0-9_]{0,62}")

_EXTENSION: Final = re.compile(r"[^/][.]([A-Za-z0-9]{1,16})\Z")

_MASS_STORAGE: Final = 0x08
_RANK: Final = 800
"""Above the families of name rules."""

_SHOWN_NAMES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a recorder shows: the label of its volume, its paths in listing order, and the device if it was plugged in.
    ``kinds`` are the extensions known so far, ``rules`` the parts whose name rules fit some of its files, each with
    what it reads from a name."""

    label: str | None
    paths: Sequence[str]
    device: DescribedDevice | None
    kinds: Mapping[str, str]
    rules: Mapping[str, Set[str]]


def draft_profile(family: str, shown: Shown) -> str:
    """The text of ``profile.toml``. Raises NothingToTellByError, ProfileMalformedError for an id that is none."""
    if ID.fullmatch(family) is None:
        raise ProfileMalformedError("id", f"is small letters, digits and _, a letter first, not {family!r}")
    if not shown.paths:
        raise NothingToTellByError("the recorder holds no files: record something with it first")
    return "\n".join(_lines(family, shown)) + "\n"


def _lines(family: str, shown: Shown) -> Iterator[str]:
    yield from (
        "schema = 1",
        f"id = {_text(family)}",
        'version = "0.1.0"  # a new one whenever anything changes: visits name it',
        f"use = {_texts([*shown.rules, 'computers'])}",
        "verified_on = []  # enter the real unit once it was docked, read and compared",
        "",
        "[title]  # 请改为型号名称",
        f"zh = {_text(f'新型号 {family}')}",
        f"en = {_text(f'New family {family}')}",
        "",
        "[match]",
        f"rank = {_RANK}",
        *_criteria(shown),
        "",
        "[media]",
        'roots = ["/"]',
        "",
        *_kinds(shown),
        "",
        "[identity]  # which of these tell its number: device, marker file, volume label, name",
        *(
            f'{role} = ["name"]'
            for role in ("recorder", "officer")
            if role in frozenset().union(*shown.rules.values())
        ),
        "",
        "[reading]",
        'order = ["marked", "newest"]',
        "",
        "[release]",
        "allowed = false",
        'why = "尚未在实机上验证"',
    )
    if not shown.rules:
        yield from _names(shown.paths)
    if shown.device is not None:
        yield from _device(shown.device)


def _criteria(shown: Shown) -> Iterator[str]:
    if shown.rules:
        yield f"file_names = {_texts(shown.rules)}"
    if shown.label:
        yield f"volume_labels = {_texts([_pattern(shown.label, '/')])}  # loosen it where units differ, as in DSJ-*"
    elif not shown.rules:
        yield f"paths = {_texts([_place(shown.paths)])}  # what no other family has"


def _place(paths: Sequence[str]) -> str:
    """The folder most files lie in, else the first file."""
    folders = Counter(path.rpartition("/")[0] for path in paths)
    folder = next((name for name, _ in folders.most_common() if name), paths[0])
    return f"/{_pattern(folder)}"


def _kinds(shown: Shown) -> Iterator[str]:
    seen = dict.fromkeys(extension for path in shown.paths if (extension := _extension(path)))
    by_kind: dict[str, list[str]] = {kind: [] for kind in MEDIA_KINDS}
    unknown: list[str] = []
    for extension in seen:
        kind = shown.kinds.get(extension)
        (unknown if kind is None else by_kind[kind]).append(extension)
    yield "[media.kinds]"
    for kind, extensions in by_kind.items():
        if extensions:
            yield f"{kind} = {_texts(extensions)}"
    if unknown:
        yield f"# what are these? {_texts(unknown)}"


def _names(paths: Iterable[str]) -> Iterator[str]:
    yield from ("", "# Names that fit none of the known rules; write a rule for them ([[file_name]]):")
    names = dict.fromkeys(path.rpartition("/")[2] for path in paths)
    for name in list(names)[:_SHOWN_NAMES]:
        yield f"#   {_text(name)}"


def _device(device: DescribedDevice) -> Iterator[str]:
    if any(interface.class_code == _MASS_STORAGE for interface in device.interfaces):
        return
    yield from (
        "",
        "# It shows no storage by itself. What has to be said to it, its maker's papers tell; nothing is sent until",
        "# it is written here and the family is turned on:",
        "# [usb.match]",
        f'# ids = ["{device.vendor_id:04x}:{device.product_id:04x}"]',
    )
    for interface in device.interfaces:
        yield f"# interface = {{ class = {interface.class_code:#04x} }}"


def _extension(path: str) -> str | None:
    found = _EXTENSION.search(path)
    return None if found is None else found[1].lower()


def _pattern(text: str, *also: str) -> str:
    """As a path pattern: what would mean something in one, or cannot be shown, is any one character."""
    odd = {*"*?[]\\", *also}
    return "".join("?" if char in odd or not char.isprintable() else char for char in text)


def _text(value: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own, what has none is not printable."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in value)
    return json.dumps(shown, ensure_ascii=False)


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"
