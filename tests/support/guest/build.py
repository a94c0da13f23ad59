"""What QEMU boots, made of Debian's packages without root and without installing a kernel.

``vmlinux`` is the stock kernel, unpacked: booted directly it needs neither BIOS nor decompression, which take most of
a boot without KVM. ``initrd.cpio`` holds busybox, the modules that are used, and an init that puts the host's
file tree, read-only, under a writable layer: the guest runs this very checkout and environment.
"""

from __future__ import annotations

import io
import lzma
import re
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

MODULES: Final = (
    *("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng"),
    *("9p", "9pnet_virtio", "overlay"),
    *("xhci_pci", "usb_storage", "uas", "sd_mod", "sg", "usbhid", "hid_generic"),
    *("fuse", "fat", "vfat", "exfat", "ext4", "crc32c_generic"),
    *("nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"),
)
"""In the order of loading. Nothing can load modules later: the guest has no modprobe."""

_APPLETS: Final = (
    *("sh", "mount", "mkdir", "modprobe", "cut", "sed", "tr", "chroot", "ifconfig", "cp", "cat", "echo"),
)
_XZ: Final = b"\xfd7zXZ\0"
_NAME: Final = re.compile(r"[\w.+~-]+")

_INIT: Final = """#!/bin/sh
export PATH=/bin
mkdir -p /proc /sys /dev /host /rw /root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do modprobe $module || echo "no module $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host || exec sh
mount -t tmpfs tmpfs /rw; mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /root || exec sh
mount -t tmpfs tmpfs /root/run; mkdir -p /root/run/lock; cp /bin/busybox /root/run/busybox
ifconfig lo 127.0.0.1 up
mount --move /proc /root/proc; mount --move /sys /root/sys; mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts; mount -t tmpfs tmpfs /root/dev/shm
cp -af $(sed -n 's/.*guest.overlay=\\([^ ]*\\).*/\\/root\\1/p' /root/proc/cmdline)/. /root/
cd /root; cmdline=$(cat proc/cmdline)
mount --move . /
exec chroot . /usr/bin/env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 \\
  $(echo "$cmdline" | sed -n 's/.*guest.run=\\([^ ]*\\).*/\\1/p' | tr , ' ')
"""


class GuestUnavailableError(Exception):
    """The guest cannot be built or booted here; says what is missing."""


def build_guest(out: Path) -> None:
    """Make ``vmlinux``, ``initrd.cpio`` and the folder ``overlay`` in ``out``. Raises GuestUnavailableError."""
    kernel = out / "kernel"
    _unpack(_newest_kernel(), kernel, out)
    overlay = out / "overlay"
    for package in ("udev", "libkmod2"):
        _unpack(package, overlay, out)
    _merge_usr(overlay)
    _unpack("busybox-static", out / "busybox", out)
    busybox = out / "busybox/bin/busybox"
    version = next((kernel / "lib/modules").iterdir()).name
    _run(str(busybox), "depmod", "-b", str(kernel), version)
    (out / "vmlinux").write_bytes(unpacked_kernel((kernel / "boot" / f"vmlinuz-{version}").read_bytes()))
    (out / "initrd.cpio").write_bytes(_initrd(kernel / "lib/modules" / version, busybox))
    shutil.rmtree(kernel)


def unpacked_kernel(bzimage: bytes) -> bytes:
    """The ELF inside a bzImage (Linux x86 boot protocol: payload_offset and payload_length at 0x248)."""
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if not payload.startswith(_XZ):
        raise GuestUnavailableError(f"kernel compressed in an unknown way: {payload[:6]!r}")
    return lzma.LZMADecompressor().decompress(payload)


def _newest_kernel() -> str:
    depends = _run("apt-cache", "depends", "linux-image-amd64")
    for word in _NAME.findall(depends):
        if word.startswith("linux-image-") and word[12:13].isdigit():
            return str(word)
    raise GuestUnavailableError("apt knows no package linux-image-amd64 (apt-get update)")


def _unpack(package: str, into: Path, out: Path) -> None:
    folder = out / "packages" / package
    folder.mkdir(parents=True)
    _run("apt-get", "download", "-q", package, cwd=folder)
    _run("dpkg", "-x", str(next(folder.glob("*.deb"))), str(into))
    shutil.rmtree(folder)


def _merge_usr(overlay: Path) -> None:
    """Debian's ``/lib`` and ``/bin`` are links; a folder in their place would hide everything else."""
    for name in ("lib", "bin", "sbin"):
        if (overlay / name).is_dir():
            shutil.copytree(overlay / name, overlay / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(overlay / name)


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        return subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=300
        ).stdout
    except subprocess.CalledProcessError as error:
        raise GuestUnavailableError(f"{' '.join(command)}: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuestUnavailableError(f"{' '.join(command)}: {error}") from error


def _initrd(modules: Path, busybox: Path) -> bytes:
    files = {
        f"lib/modules/{modules.name}/{path}": (modules / path).read_bytes()
        for path in _with_dependencies(modules, MODULES)
    }
    files[f"lib/modules/{modules.name}/modules.dep"] = (modules / "modules.dep").read_bytes()
    files["bin/busybox"] = busybox.read_bytes()
    files["init"] = _INIT.format(modules=" ".join(MODULES)).encode()
    archive = _Cpio()
    above = {str(parent) for name in (*files, "dev/console") for parent in PurePosixPath(name).parents}
    for folder in sorted(above - {"."}):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name, data in files.items():
        archive.add(name, stat.S_IFREG | 0o755, data)
    for applet in _APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    return archive.finished()


def _with_dependencies(modules: Path, names: Sequence[str]) -> Iterator[str]:
    """Paths below ``modules`` of the modules named and of all they need, each once; built-in ones have none."""
    lines = (modules / "modules.dep").read_text("ascii").splitlines()
    paths = {
        _module_name(path): (path, needs.split()) for path, _, needs in (x.partition(":") for x in lines)
    }
    given: set[str] = set()
    for name in names:
        path, needs = paths.get(name.replace("-", "_"), ("", []))
        for found in (path, *needs):
            if found and found not in given:
                given.add(found)
                yield found.split(f"{modules.name}/")[-1]


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.split(".ko")[0].replace("-", "_")


class _Cpio:
    """An archive in the "newc" form the kernel unpacks."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._inode = 0

    def add(self, name: str, mode: int, data: bytes = b"", *, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        raw_name = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw_name), 0)
        self._bytes.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name)
        self._pad()
        self._bytes.write(data)
        self._pad()

    def _pad(self) -> None:
        self._bytes.write(b"\0" * (-self._bytes.tell() % 4))

    def finished(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return self._bytes.getvalue()
