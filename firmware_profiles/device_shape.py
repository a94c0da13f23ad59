"""The shape of the ``[usb]`` tables of a ``profile.toml``: how a device is recognised and what is said to it.

The limits are here: how long a step may wait, how much it may take in, how many steps there may be.
"""

from __future__ import annotations

from typing import Final

from firmware_profiles.shape_parts import Schema, choice, list_of, sequence_of, table, text, truth, whole

MAX_STEPS: Final = 16
"""In one section. The longest conversation that is published has five."""

MAX_ANSWER_BYTES: Final = 4096
"""Answers are facts, not files: the longest that is published has 1024 bytes."""

DEFAULT_ANSWER_BYTES: Final = 512
"""One packet of a high-speed bulk endpoint."""

MAX_TIMEOUT_MS: Final = 10_000
"""With ``MAX_STEPS`` in each of three sections this bounds a conversation with a device that says nothing."""

DEFAULT_TIMEOUT_MS: Final = 1000
MAX_WAIT_MS: Final = 10_000
MAX_REENUMERATION_S: Final = 120
MAX_PAYLOAD_BYTES: Final = 4096

ENCODINGS: Final = ("ascii", "utf-8", "gbk")
BECOMES: Final = ("mass-storage", "mtp")
REPORT_TYPES: Final = ("output", "feature")

_BYTE: Final = 0xFF
_PRINTABLE: Final = r"^[\x20-\x7e]+$"

_OUT: Final = whole("Address of the endpoint to the device", minimum=0x01, maximum=0x0F)
_IN: Final = whole("Address of the endpoint from the device", minimum=0x81, maximum=0x8F)


def _code(description: str) -> Schema:
    return whole(description, minimum=0, maximum=_BYTE)


def _pattern(description: str) -> Schema:
    return text(description, pattern=_PRINTABLE, max_length=400)


_INTERFACE: Final = table(
    {
        "class": _code("bInterfaceClass"),
        "subclass": _code("bInterfaceSubClass"),
        "protocol": _code("bInterfaceProtocol"),
    },
    "The first interface with these codes is the one that is talked with",
    required=("class",),
)

_RELEASE: Final = text("bcdDevice as it is usually written", pattern="^[0-9]{1,2}[.][0-9]{2}$", max_length=5)

_MATCH: Final = table(
    {
        "ids": list_of(
            text(
                "Vendor and product, four hexadecimal digits each",
                pattern="^[0-9a-f]{4}:[0-9a-f]{4}$",
                max_length=9,
            ),
            "The device has one of these. A filter, never an identity: other products may have them too",
            min_items=1,
        ),
        "device_class": _code("bDeviceClass"),
        "interface": _INTERFACE,
        "manufacturer": _pattern("Regular expression for the whole manufacturer string"),
        "product": _pattern("Regular expression for the whole product string"),
        "firmware": table(
            {"from": _RELEASE, "below": _RELEASE}, "Range of bcdDevice; the upper end is left out"
        ),
    },
    "What a device must show in its descriptors. Every criterion given must hold",
)

_BULK: Final = table(
    {"out": _OUT, "in": _IN}, "Sent to one bulk or interrupt endpoint, answered at another", required=("out",)
)

_CONTROL: Final = table(
    {
        "request_type": _code("bmRequestType; of type class or vendor. Bit 7 set: the device answers"),
        "request": _code("bRequest"),
        "value": whole("wValue", minimum=0, maximum=0xFFFF),
        "index": whole("wIndex", minimum=0, maximum=0xFFFF),
    },
    "A control transfer",
    required=("request_type", "request"),
)

_HID_REPORT: Final = table(
    {
        "id": _code("Report id; 0 for devices without"),
        "type": choice(REPORT_TYPES, "Of the report that is sent"),
        "out": _OUT,
        "in": _IN,
    },
    "Reports, by interrupt transfers where an endpoint is given, else by SET_REPORT and GET_REPORT (HID 1.11 7.2)",
)

_SCSI: Final = table(
    {"cdb": text("Command descriptor block, hexadecimal", pattern="^[0-9a-f ]+$")},
    "A SCSI command to the first logical unit; the kernel's driver stays in place",
    required=("cdb",),
)

_WAIT: Final = table({"ms": whole("How long", minimum=1, maximum=MAX_WAIT_MS)}, "A pause", required=("ms",))

_REENUMERATE: Final = table(
    {
        "within_s": whole("How long to wait for it", minimum=1, maximum=MAX_REENUMERATION_S),
        "becomes": choice(BECOMES, "As what the device comes back"),
    },
    "The device leaves and comes back at the same port",
    required=("within_s", "becomes"),
)

_STEP: Final = table(
    {
        "name": text("For people, in logs", pattern=_PRINTABLE, max_length=64),
        "bulk": _BULK,
        "control": _CONTROL,
        "hid_report": _HID_REPORT,
        "scsi": _SCSI,
        "wait": _WAIT,
        "reenumerate": _REENUMERATE,
        "send": text(
            "What is sent, as text: {password}, {password:8} (padded to 8 bytes), {now:%Y%m%d} (the station's "
            "local time); {{ and }} are braces",
            pattern=r"^[\t\r\n\x20-\x7e]+$",
            max_length=400,
        ),
        "send_hex": text(
            "What is sent, as hexadecimal bytes with the same fields", pattern=_PRINTABLE, max_length=1000
        ),
        "pad_to_bytes": whole("What is sent has this length", minimum=1, maximum=MAX_PAYLOAD_BYTES),
        "pad_with": _code("The byte that fills up; 0 if not given"),
        "expect": _pattern(
            "Regular expression (RE2) for the whole answer, a character for each byte; groups recorder, officer, "
            "battery_percent, firmware, clock"
        ),
        "refused": _pattern("Regular expression for an answer that says no; to a password: that it is wrong"),
        "refused_by_stall": truth("A stall or check condition says the same"),
        "encoding": choice(ENCODINGS, "Of text in the groups; ascii if not given"),
        "clock_format": text("strptime format of the group clock, in the station's zone", max_length=64),
        "max_bytes": whole("Longest answer", minimum=1, maximum=MAX_ANSWER_BYTES),
        "timeout_ms": whole("Of each transfer", minimum=10, maximum=MAX_TIMEOUT_MS),
    },
    "One step: exactly one of bulk, control, hid_report, scsi, wait, reenumerate",
    required=("name",),
)

USB: Final = table(
    {
        "match": _MATCH,
        "probe": sequence_of(
            _STEP, "Harmless queries; all must answer as expected before anything else", max_items=MAX_STEPS
        ),
        "ask": sequence_of(
            _STEP, "Facts. What is not answered as expected is not known", max_items=MAX_STEPS
        ),
        "switch": sequence_of(
            _STEP, "Unlocks the recorder and makes it show its storage", max_items=MAX_STEPS
        ),
        "set_clock": sequence_of(
            _STEP, "Sets the clock, once the clock as found is in a signed inventory", max_items=MAX_STEPS
        ),
    },
    "The recorder as a USB device",
    required=("match",),
)
