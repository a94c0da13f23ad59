"""A guest booted, asked and stopped. No KVM is needed: the processor is emulated, about thirty times slower.

The guest's USB ports are sockets in ``Guest.folder``: who connects to ``port_socket(1)`` is plugged into port
``1-1`` of a real xHCI controller, who hangs up is pulled. Functions of ``tests.support.guest.inside_*`` run in the
guest by ``call``. Its one disk outlives a power cut. One guest needs one core and 1 GiB. The checkout and its Python
may lie anywhere but below /dev, /proc, /run and /sys, which are the guest's own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import tests.support.guest.inside
from tests.support.guest.build import GuestUnavailableError, build_guest
from tests.support.guest.card_images import format_card

ROOT: Final = Path(__file__).parents[3]
PORTS: Final = 8
BUILD_VARIABLE: Final = "ZHILU_GUEST_BUILD"
"""A folder already built by ``build_guest``, for whoever runs these tests over and over."""

_QEMU: Final = "qemu-system-x86_64"
_BOOT_S: Final = 900.0
_CALL_S: Final = 600.0
_DISK_BYTES: Final = 1 << 28
_STOP_S: Final = 60.0
_COMMAND_LINE: Final = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on "
    "usb_storage.delay_use=0"
)


class GuestError(Exception):
    """What went wrong in the guest, with its traceback."""


@contextmanager
def running_guest() -> Iterator[Guest]:
    """A guest, built and booted, stopped on leaving. Raises GuestUnavailableError."""
    if shutil.which(_QEMU) is None:
        raise GuestUnavailableError(f"{_QEMU} is not installed (apt-get install qemu-system-x86)")
    folder = Path(tempfile.mkdtemp(prefix="zhilu-guest-"))
    try:
        ready_made = os.environ.get(BUILD_VARIABLE)
        build = Path(ready_made) if ready_made else folder / "build"
        if not ready_made:
            build.mkdir()
            build_guest(build)
        guest = Guest(build, folder)
        try:
            guest.power_on()
            yield guest
        finally:
            guest.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Guest:
    """One virtual machine. ``folder`` holds its sockets and what it printed."""

    def __init__(self, build: Path, folder: Path) -> None:
        self.folder = folder
        self._build = build
        self._lines: list[_Lines] = []
        self._process: subprocess.Popen[bytes] | None = None
        format_card(folder / "disk.img", "ext4", size_bytes=_DISK_BYTES)

    def port_socket(self, port: int) -> Path:
        """Where a device is plugged into port ``1-<port>`` of the guest, from 1."""
        return self.folder / f"port{port}"

    def power_on(self) -> None:
        """Boot, and wait until the guest answers. Raises GuestUnavailableError."""
        self._hang_up()
        with (self.folder / "qemu.err").open("wb") as errors:
            self._process = subprocess.Popen(
                self._command(self._build), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )
        self._connected("qmp").receive()
        self._qmp("qmp_capabilities")
        self._calls = self._connected("calls")
        try:
            self._calls.receive(_BOOT_S)
        except OSError as error:
            printed = (self.folder / "serial.log").read_text("utf-8", "replace")
            raise GuestUnavailableError(f"the guest did not boot: {printed[-2000:]}") from error

    def call(self, function: Callable[..., Any], /, *args: object, timeout_s: float = _CALL_S) -> Any:
        """Run a function of this checkout in the guest; arguments and result are JSON. Raises GuestError."""
        self._calls.send({"module": function.__module__, "name": function.__name__, "args": args})
        answer = self._calls.receive(timeout_s)
        if "error" in answer:
            raise GuestError(answer["error"])
        return answer["result"]

    def cut_power(self) -> None:
        """What the guest had not yet given to its disk is lost. May be called from the code of a device."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it, by its process id."""
        if self._process is None:
            return
        with suppress(OSError):
            self._qmp("quit")
        self._hang_up()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.cut_power()

    def _hang_up(self) -> None:
        for line in self._lines:
            line.close()
        self._lines.clear()

    def _command(self, build: Path) -> list[str]:
        run = ",".join((sys.executable, "-B", tests.support.guest.inside.__file__, str(ROOT)))
        boot = f"{_COMMAND_LINE} guest.overlay={build / 'overlay'} guest.run={run}"
        ports = [
            text
            for port in range(1, PORTS + 1)
            for text in (
                *("-chardev", f"socket,id=port{port},path={self.port_socket(port)},server=on,wait=off"),
                *("-device", f"usb-redir,id=usb{port},chardev=port{port},bus=xhci.0,port={port}"),
            )
        ]
        return [
            *("setpriv", "--pdeathsig", "KILL", "--"),  # however this process ends, the guest ends with it
            *(_QEMU, "-accel", "tcg,thread=single", "-M", "q35", "-cpu", "max", "-smp", "1", "-m", "1024"),
            *("-display", "none", "-nodefaults", "-no-reboot"),
            *("-kernel", str(build / "vmlinux"), "-initrd", str(build / "initrd.cpio"), "-append", boot),
            *("-serial", f"file:{self.folder}/serial.log"),
            *("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
            *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
            # Nothing is synced on the host, which stays up: what the disk was given is kept.
            *("-drive", f"file={self.folder}/disk.img,format=raw,if=virtio,cache=unsafe"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=calls,path={self.folder}/calls,server=on,wait=off"),
            *("-device", "virtserialport,chardev=calls,name=calls"),
            *("-device", f"qemu-xhci,id=xhci,p2={PORTS},p3={PORTS}"),
            *ports,
        ]

    def _connected(self, name: str) -> _Lines:
        deadline = time.monotonic() + _STOP_S
        while True:
            if self._process is None or self._process.poll() is not None:
                raise GuestUnavailableError(f"QEMU ended: {(self.folder / 'qemu.err').read_text()}")
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(str(self.folder / name))
            except OSError as error:
                line.close()
                if time.monotonic() > deadline:
                    raise GuestUnavailableError(f"QEMU does not listen on {name}") from error
                time.sleep(0.02)
            else:
                self._lines.append(_Lines(line))
                return self._lines[-1]

    def _qmp(self, command: str) -> None:
        if not self._lines:
            return
        monitor = self._lines[0]
        monitor.send({"execute": command})
        while "return" not in (answer := monitor.receive()):
            if "error" in answer:
                raise GuestError(answer["error"]["desc"])


class _Lines:
    """JSON lines over a socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._file = line.makefile("rb")

    def send(self, message: object) -> None:
        self._line.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float = _STOP_S) -> dict[str, Any]:
        """Raises OSError."""
        self._line.settimeout(timeout_s)
        text = self._file.readline()
        if not text:
            raise ConnectionError("the other side hung up")
        message: dict[str, Any] = json.loads(text)
        return message

    def close(self) -> None:
        self._file.close()
        self._line.close()
