"""What can go wrong at a USB port before a recorder's volume can be read. Codes reach the bay's tile and the status."""

from __future__ import annotations

from typing import ClassVar

from agent.errors import AgentError


class UsbError(AgentError):
    """Something about a device, a conversation with it, or mounting it."""

    code = "usb-error"


class DeviceGoneError(UsbError):
    """The device was pulled, or another one is at its port."""

    code = "device-gone"
    retryable: ClassVar[bool] = True


class DeviceSilentError(UsbError):
    """The device did not answer in time."""

    code = "device-silent"
    retryable: ClassVar[bool] = True


class TransferRefusedError(UsbError):
    """The device refused a transfer: a stall, or a SCSI check condition."""

    code = "transfer-refused"


class DeviceBusyError(UsbError):
    """Another program holds the interface."""

    code = "device-busy"
    retryable: ClassVar[bool] = True


class DeviceForbiddenError(UsbError):
    """The station may not open the device: its udev rules are not installed."""

    code = "device-forbidden"


class MountRefusedError(UsbError):
    """The mounter does not do that: not a bay of this station, or not what is asked for."""

    code = "mount-refused"


class MountFailedError(UsbError):
    """The file system cannot be mounted: damaged, or of a kind this machine does not know."""

    code = "mount-failed"


class MounterAwayError(UsbError):
    """The mounter does not answer: it is not installed or not running."""

    code = "mounter-away"
    retryable: ClassVar[bool] = True


class LibusbMissingError(UsbError):
    """No libusb can be loaded on this machine."""

    code = "libusb-missing"


class MountBusyError(UsbError):
    """Somebody still uses the mount, or an earlier request at this port is still waiting for its device."""

    code = "mount-busy"
    retryable: ClassVar[bool] = True
