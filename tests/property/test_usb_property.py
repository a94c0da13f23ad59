"""Whatever a device sends and whatever a profile says: nothing crashes, nothing hangs, no password is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from agent.usb.conversation import Ended, Talked
from agent.usb.descriptors import MAX_INTERFACES, interfaces_of
from agent.usb.sighting import label_of, port_of
from firmware_profiles.device import UsbProfile
from firmware_profiles.device_shape import USB
from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.structure import check_structure
from tests.support.usb_recorders import Ambarella, Face, HidUnlock, Recorder, Stall, VendorScsi
from tests.support.usb_talk import families, talk

# what a device can do when it is asked: answer anything, stall, stay silent, go
ANSWERS = st.lists(
    st.one_of(
        st.binary(max_size=600),
        st.sampled_from([b"@Ver;OK;#", b"RECORDER", b"OK", b"NO", b"geheim1", "stall", "silent", "go"]),
    ),
    max_size=12,
)


@dataclass(slots=True, kw_only=True)
class Fickle(Recorder):
    """Does what it is told next, whatever it hears; at the end it says nothing more."""

    acts: Iterator[bytes | str] = field(default_factory=lambda: iter(()))
    has_heard: bool = False

    def control(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes:
        return self._next() or b""

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        self.has_heard = True

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        return self._next() if self.has_heard else None

    def scsi(self, cdb: bytes, data: bytes, length: int) -> bytes:
        return self._next() or b""

    def _next(self) -> bytes | None:
        act = next(self.acts, "silent")
        if act == "go":
            self.leave(None)
        if act in ("go", "stall"):
            raise Stall
        return act if isinstance(act, bytes) else None


FACES: dict[str, tuple[int, tuple[Face, ...]]] = {
    "ambarella": (0x42550001, Ambarella().faces),
    "example_hid_unlock": (0x12090001, HidUnlock().faces),
    "example_vendor_scsi": (0x12090002, VendorScsi().faces),
}


@given(family=st.sampled_from(sorted(FACES)), acts=ANSWERS)
@example(family="ambarella", acts=[b"@Ver;OK;#", b"@Gdv;3;007#" + bytes(600)])
@example(family="example_hid_unlock", acts=[b"RECORDER", b"", b"", b"geheim1 NO"])
def test_any_answers_end_a_conversation_in_a_known_way(family: str, acts: list[bytes | str]) -> None:
    ids, faces = FACES[family]
    recorder = Fickle(vendor_id=ids >> 16, product_id=ids & 0xFFFF, faces=faces, acts=iter(acts))
    outcome = talk(recorder, families()[family], b"geheim1")
    assert isinstance(outcome, Talked | Ended)
    assert b"geheim1".hex(" ") not in repr(outcome.transcript)
    first_in = next((message for message in outcome.transcript if message.direction == "in"), None)
    if first_in is None:
        assert {message.section for message in outcome.transcript} <= {"probe"}


@given(st.binary(max_size=400), st.integers(0, 255))
def test_any_bytes_are_read_as_descriptors(data: bytes, configuration: int) -> None:
    assert len(interfaces_of(data, configuration)) <= MAX_INTERFACES


@given(st.text())
def test_any_text_is_read_as_label_and_path(text: str) -> None:
    label = label_of(text)
    assert label is None or label.strip() == label != ""
    port = port_of(text)
    assert port is None or port in text


def _plausible(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of mostly the right shape, with what stands at the edges of it."""
    kind = schema["type"]
    if kind == "object":
        known = {name: _plausible(below) for name, below in schema["properties"].items()}
        needed = {name: known[name] for name in schema["required"]}
        return st.fixed_dictionaries(
            needed, optional={name: known[name] for name in known if name not in needed}
        )
    if kind == "array":
        return st.lists(_plausible(schema["items"]), max_size=3)
    if kind == "integer":
        return st.integers(schema["minimum"] - 1, schema["maximum"] + 1)
    if kind == "boolean":
        return st.booleans()
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.one_of(st.sampled_from(TEXTS), st.text(max_size=12))


TEXTS = [
    *("{password}", "{password:8}", "{now:%Y%m%d}", "{{", "{", "{}", "00 ff", "0", "12 00 00 00 24 00", "é"),
    *("(?P<recorder>.*)", "(?P<clock>[0-9]*)", "(?P<x>.)", "(", "(a*)*b", "(?=x)", r"\x00*", "x{1000}"),
    *("1209:0001", "1.00", "%Y%m%d%H%M%S", "%", "f9" + "00" * 15, "*", "a"),
]


def read(table: object) -> UsbProfile | str:
    """The profile, or the key at fault."""
    try:
        check_structure(table, USB, "usb")
        return UsbProfile.from_table(table)  # type: ignore[arg-type]
    except ProfileMalformedError as error:
        return error.key


@given(_plausible(dict(USB)))
def test_any_usb_table_is_a_profile_or_refused_by_name(table: dict[str, Any]) -> None:
    profile = read(table)
    if isinstance(profile, str):
        assert profile.startswith("usb")
    else:
        assert profile.sends or not (profile.ask or profile.switch or profile.set_clock)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(ANYTHING)
def test_any_value_in_place_of_the_table_is_refused(value: object) -> None:
    key = read(value)
    assert isinstance(key, str)
    assert key.startswith("usb")
