"""Which libusb is used: the one place that decides.

The system's comes first. Where udevd runs it learns of devices from udevd, after their rules were applied; the one in
the package ``libusb-package`` listens to the kernel, and is there for machines that have none.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import libusb_package
import usb.backend
import usb.backend.libusb1

from agent.usb.errors import LibusbMissingError

SYSTEM_LIBRARY: Final = "libusb-1.0.so.0"


CANDIDATES: Final = (SYSTEM_LIBRARY, str(libusb_package.get_library_path() or SYSTEM_LIBRARY))


@cache
def load_backend(candidates: tuple[str, ...] = CANDIDATES) -> usb.backend.IBackend:
    """pyusb's backend over the first library that loads; pyusb keeps one for the process. Raises LibusbMissingError."""
    for library in candidates:
        if _loads(library):
            backend = usb.backend.libusb1.get_backend(find_library=lambda _, found=library: found)
            if backend is not None:
                return backend
    raise LibusbMissingError(f"no libusb on this machine: install the package that has {SYSTEM_LIBRARY}")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
