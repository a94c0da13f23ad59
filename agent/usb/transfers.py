"""One exchange with a device: what its transport makes of "send this, take the answer"."""

from __future__ import annotations

from typing import Final

from agent.usb.ports import UsbChannel
from firmware_profiles.device_steps import DEVICE_TO_HOST, Bulk, Control, Exchange, HidReport, Scsi

_SET_REPORT: Final = (0x21, 0x09)
_GET_REPORT: Final = (0xA1, 0x01)
"""bmRequestType and bRequest (HID 1.11 sections 7.2.1 and 7.2.2)."""

_INPUT, _OUTPUT, _FEATURE = 1, 2, 3


def exchange(channel: UsbChannel, interface: int, step: Exchange, data: bytes) -> bytes | None:
    """Sends ``data`` and returns the answer; None where the step has none. Raises as ``UsbChannel``."""
    match step.transport:
        case Bulk() as bulk:
            return _bulk(channel, bulk, step, data)
        case Control() as control:
            return _control(channel, control, step, data)
        case HidReport() as report:
            return _hid_report(channel, report, interface, step, data)
        case Scsi(cdb=cdb):
            length = 0 if step.expect is None else step.max_bytes
            answer = channel.scsi(cdb, data_out=data, length_in=length, timeout_ms=step.timeout_ms)
            return None if step.expect is None else answer


def _bulk(channel: UsbChannel, bulk: Bulk, step: Exchange, data: bytes) -> bytes | None:
    channel.write(bulk.out_endpoint, data, timeout_ms=step.timeout_ms)
    if bulk.in_endpoint is None:
        return None
    return channel.read(bulk.in_endpoint, step.max_bytes, timeout_ms=step.timeout_ms)


def _control(channel: UsbChannel, control: Control, step: Exchange, data: bytes) -> bytes | None:
    if control.request_type & DEVICE_TO_HOST:
        return channel.control_in(
            request_type=control.request_type,
            request=control.request,
            value=control.value,
            index=control.index,
            length=step.max_bytes,
            timeout_ms=step.timeout_ms,
        )
    channel.control_out(
        request_type=control.request_type,
        request=control.request,
        value=control.value,
        index=control.index,
        data=data,
        timeout_ms=step.timeout_ms,
    )
    return None


def _hid_report(
    channel: UsbChannel, report: HidReport, interface: int, step: Exchange, data: bytes
) -> bytes | None:
    if step.payload is not None:
        _send_report(channel, report, interface, step, data)
    if step.expect is None:
        return None
    if report.in_endpoint is not None:
        return channel.read(report.in_endpoint, step.max_bytes, timeout_ms=step.timeout_ms)
    kind = _FEATURE if report.is_feature else _INPUT
    return channel.control_in(
        request_type=_GET_REPORT[0],
        request=_GET_REPORT[1],
        value=kind << 8 | report.report_id,
        index=interface,
        length=step.max_bytes,
        timeout_ms=step.timeout_ms,
    )


def _send_report(channel: UsbChannel, report: HidReport, interface: int, step: Exchange, data: bytes) -> None:
    """A report with an id has it as its first byte, on every way (HID 1.11 section 5.6)."""
    whole = bytes([report.report_id]) + data if report.report_id else data
    if report.out_endpoint is not None:
        channel.write(report.out_endpoint, whole, timeout_ms=step.timeout_ms)
        return
    kind = _FEATURE if report.is_feature else _OUTPUT
    channel.control_out(
        request_type=_SET_REPORT[0],
        request=_SET_REPORT[1],
        value=kind << 8 | report.report_id,
        index=interface,
        data=whole,
        timeout_ms=step.timeout_ms,
    )
