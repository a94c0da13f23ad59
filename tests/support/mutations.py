"""Bent inputs: what property tests make of valid ones. Bytes cut, doubled, swapped, put elsewhere; JSON with any value
in any place. Unlike rubbish they get past the first check of a parser."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

NASTY: Final = (
    b"", b"\x00", b"\xff", b"\n", b"\r\n", b"\xed\xa0\x80", b"-", b"+", b"/", b"..", b"=", b'"', b"{", b"[", b"\\",
    b"9" * 30, b"-1", b"1e400", b"0x1", b"NaN", "\u202e".encode(), "١".encode(), b"9" * 5000, b"[" * 5000,
    b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b" " * 1000,
)  # fmt: skip

_scalars = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**53,
        2**63,
        10**400,
        0.5,
        -0.0,
        1e308,
        "",
        "x" * 5000,
        "\x00",
        "\u202e",
        "\ud800",
        "é",
        "1",
    ]
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "v", "é"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def bent(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A valid input after one to four changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 24))
        piece = data[at : at + length]
        match draw(st.sampled_from(["cut", "double", "insert", "replace", "flip", "swap", "end"])):
            case "cut":
                del data[at : at + length]
            case "double":
                data[at:at] = piece
            case "insert":
                data[at:at] = draw(st.sampled_from(NASTY))
            case "replace":
                data[at : at + length] = draw(st.sampled_from(NASTY) | st.binary(max_size=8))
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "swap":
                other = draw(st.integers(0, len(data)))
                taken = data[other : other + length]
                data[at : at + length] = taken
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def bent_json(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A valid JSON input with one to three of its members replaced, removed or doubled."""
    value: Any = json.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 7)) == 0:
            return {kept: value[kept] for kept in value if kept != name}
        return value | {name: _changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    return draw(_values)


def is_json(data: bytes) -> bool:
    """Whether an input is a JSON object."""
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False
