"""The steps of a conversation with a device as checked values. Pure.

Guarantees: no step sends a standard request (USB 2.0 table 9-3), so none can change address, configuration or
features; no SCSI command writes blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from firmware_profiles.answers import FACT_GROUPS, AnswerPattern, compile_answer
from firmware_profiles.device_shape import DEFAULT_ANSWER_BYTES, DEFAULT_TIMEOUT_MS
from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.templates import Template

KINDS: Final = ("bulk", "control", "hid_report", "scsi", "wait", "reenumerate")

DEVICE_TO_HOST: Final = 0x80
_REQUEST_TYPES: Final = (0x20, 0x40)
"""Bits 5 and 6 of bmRequestType: class and vendor requests (USB 2.0 table 9-2)."""

_CDB_LENGTHS: Final = (6, 10, 12, 16)
_HARMLESS_COMMANDS: Final = frozenset({0x00, 0x03, 0x12, 0x1A, 0x1B, 0x25, 0x5A, 0x9E})
"""TEST UNIT READY, REQUEST SENSE, INQUIRY, MODE SENSE(6), START STOP UNIT, READ CAPACITY(10), MODE SENSE(10), SERVICE
ACTION IN(16) (SPC-5, SBC-4). Others of the standard could write, erase or format."""

_FIRST_VENDOR_COMMAND: Final = 0xC0
"""Operation codes from here on are the vendor's (SAM-5 table 20)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """Out to one endpoint, in from another."""

    out_endpoint: int
    in_endpoint: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A class or vendor request."""

    request_type: int
    request: int
    value: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HidReport:
    """One report out, one in; through the control endpoint where none is named."""

    report_id: int
    is_feature: bool
    out_endpoint: int | None
    in_endpoint: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scsi:
    """A command to the first logical unit."""

    cdb: bytes


Transport: TypeAlias = Bulk | Control | HidReport | Scsi


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Something is sent, something is answered, or both."""

    name: str
    transport: Transport
    payload: Template | None
    expect: AnswerPattern | None
    refused: AnswerPattern | None
    refused_by_stall: bool
    max_bytes: int
    timeout_ms: int

    @property
    def uses_password(self) -> bool:
        return self.payload is not None and self.payload.uses_password


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A pause the device needs."""

    name: str
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reenumerate:
    """The device leaves and comes back at the same port as something else."""

    name: str
    within_s: int
    becomes: str


Step: TypeAlias = Exchange | Wait | Reenumerate


def read_step(table: Mapping[str, Any], key: str) -> Step:
    """From one table of the checked shape. Raises ProfileMalformedError."""
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise ProfileMalformedError(key, f"has exactly one of {', '.join(KINDS)}")
    kind = kinds[0]
    if kind in ("wait", "reenumerate"):
        surplus = sorted(set(table) - {"name", kind})
        if surplus:
            raise ProfileMalformedError(f"{key}.{surplus[0]}", f"has no meaning beside {kind}")
        return _pause(table, kind)
    exchange = Exchange(
        name=table["name"],
        transport=_TRANSPORTS[kind](table[kind], f"{key}.{kind}"),
        payload=_payload(table, key),
        expect=_answer(table, "expect", FACT_GROUPS, key),
        refused=_answer(table, "refused", frozenset(), key),
        refused_by_stall=table.get("refused_by_stall", False),
        max_bytes=table.get("max_bytes", DEFAULT_ANSWER_BYTES),
        timeout_ms=table.get("timeout_ms", DEFAULT_TIMEOUT_MS),
    )
    _check_direction(exchange, key)
    return exchange


def _pause(table: Mapping[str, Any], kind: str) -> Wait | Reenumerate:
    inner = table[kind]
    if kind == "wait":
        return Wait(name=table["name"], ms=inner["ms"])
    return Reenumerate(name=table["name"], within_s=inner["within_s"], becomes=inner["becomes"])


def _payload(table: Mapping[str, Any], key: str) -> Template | None:
    spellings = [spelling for spelling in ("send", "send_hex") if spelling in table]
    if len(spellings) > 1:
        raise ProfileMalformedError(f"{key}.send_hex", "and send exclude each other")
    if not spellings:
        if "pad_to_bytes" in table or "pad_with" in table:
            raise ProfileMalformedError(
                f"{key}.pad_to_bytes", "and pad_with belong to something that is sent"
            )
        return None
    return Template.parse(
        table[spellings[0]],
        is_hex=spellings[0] == "send_hex",
        pad_to_bytes=table.get("pad_to_bytes"),
        pad_with=table.get("pad_with", 0),
        key=f"{key}.{spellings[0]}",
    )


def _answer(table: Mapping[str, Any], name: str, groups: frozenset[str], key: str) -> AnswerPattern | None:
    has_clock = name == "expect" and "clock_format" in table
    if name not in table:
        if has_clock:
            raise ProfileMalformedError(f"{key}.clock_format", "belongs to the group clock of expect")
        return None
    regex, found = compile_answer(table[name], groups=groups, key=f"{key}.{name}")
    if ("clock" in found) != has_clock:
        raise ProfileMalformedError(f"{key}.clock_format", "is given exactly when expect has the group clock")
    return AnswerPattern(
        regex=regex,
        encoding=table.get("encoding", "ascii"),
        clock_format=table["clock_format"] if has_clock else None,
    )


def _check_direction(step: Exchange, key: str) -> None:
    """Whether what is sent and what is expected can go through the transport."""
    answers = step.expect is not None or step.refused is not None
    if step.refused is not None and step.expect is None:
        raise ProfileMalformedError(f"{key}.refused", "needs expect beside it")
    match step.transport:
        case Bulk(in_endpoint=answered_at):
            if step.payload is None:
                raise ProfileMalformedError(f"{key}.send", "is missing")
            fits = answers == (answered_at is not None)
        case Control(request_type=request_type):
            is_in = bool(request_type & DEVICE_TO_HOST)
            fits = answers == is_in and not (is_in and step.payload is not None)
        case HidReport(out_endpoint=sent_at, in_endpoint=answered_at):
            fits = (
                (answers or step.payload is not None)
                and (answers or answered_at is None)
                and (step.payload is not None or sent_at is None)
            )
        case Scsi():
            fits = not (answers and step.payload is not None)
    if not fits:
        raise ProfileMalformedError(
            f"{key}.expect", "and what is sent do not fit the direction of the transfer"
        )


def _bulk(table: Mapping[str, Any], key: str) -> Bulk:
    del key
    return Bulk(out_endpoint=table["out"], in_endpoint=table.get("in"))


def _control(table: Mapping[str, Any], key: str) -> Control:
    if table["request_type"] & 0x60 not in _REQUEST_TYPES:
        raise ProfileMalformedError(f"{key}.request_type", "must be of type class or vendor")
    return Control(
        request_type=table["request_type"],
        request=table["request"],
        value=table.get("value", 0),
        index=table.get("index", 0),
    )


def _hid_report(table: Mapping[str, Any], key: str) -> HidReport:
    del key
    return HidReport(
        report_id=table.get("id", 0),
        is_feature=table.get("type") == "feature",
        out_endpoint=table.get("out"),
        in_endpoint=table.get("in"),
    )


def _scsi(table: Mapping[str, Any], key: str) -> Scsi:
    try:
        cdb = bytes.fromhex(table["cdb"])
    except ValueError as error:
        raise ProfileMalformedError(f"{key}.cdb", "is not hexadecimal bytes") from error
    if len(cdb) not in _CDB_LENGTHS:
        raise ProfileMalformedError(f"{key}.cdb", f"has 6, 10, 12 or 16 bytes, not {len(cdb)}")
    if cdb[0] < _FIRST_VENDOR_COMMAND and cdb[0] not in _HARMLESS_COMMANDS:
        raise ProfileMalformedError(
            f"{key}.cdb", f"operation code {cdb[0]:02x} could change what is on the medium"
        )
    return Scsi(cdb=cdb)


_TRANSPORTS: Final[Mapping[str, Callable[[Mapping[str, Any], str], Transport]]] = {
    "bulk": _bulk,
    "control": _control,
    "hid_report": _hid_report,
    "scsi": _scsi,
}
