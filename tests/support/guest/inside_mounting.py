"""What the tests of mounting do inside the guest. Arguments and results are JSON.

The helper runs as root there, like on a station; what the agent does, it does in a child under the agent's user.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.errors import AgentError
from agent.mounting import kernel
from agent.mounting.client import SocketMounter
from agent.mounting.setup import filled
from agent.mounting.sysfs import blocks_below
from agent.ports import FileIdentity
from agent.usb.ports import Mounted, VolumeSeen
from agent.volumes.tree import TreeVolume

AGENT_USER: Final = "zhilu-agent"
AGENT_ID: Final = 1500
OTHER_ID: Final = 1501
_SOCKET: Final = Path("/run/zhilu/mounter.sock")
_SETTINGS: Final = Path("/etc/zhilu/mounter.toml")
_RULES: Final = Path("/etc/udev/rules.d/70-zhilu-bays.rules")
_WAIT_S: Final = 300.0
_POLL_S: Final = 0.1  # each look costs an emulated processor about ten milliseconds
_T = TypeVar("_T")

_CARD: Final = Path("/run/card")
_waiting: list[int] = []
_open: list[int] = []
_helper: list[subprocess.Popen[bytes]] = []


def start_helper(bays: list[str]) -> None:
    """With what ``zhilu-mounter setup`` would install for these bays."""
    _make_user()
    for name, place in (
        ("mounter.toml", _SETTINGS),
        ("70-zhilu-bays.rules", Path("/etc/udev/rules.d/70-zhilu-bays.rules")),
    ):
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.write_text(filled(name, user=AGENT_USER, bays=bays, program=Path("zhilu-mounter")), "utf-8")
    subprocess.run(["udevadm", "control", "--reload"], check=True, timeout=60)
    command = [sys.executable, "-m", "agent.mounting.cli", "run", "--settings", str(_SETTINGS)]
    with Path("/run/mounter.log").open("ab") as log:
        _helper.append(subprocess.Popen(command, cwd=_root(), stderr=log, stdout=log, umask=0o022))
    _wait_for(lambda: _SOCKET.exists() and SocketMounter, "the helper does not listen")


def helper_log() -> str:
    return Path("/run/mounter.log").read_text("utf-8")


def volumes(port_path: str, count: int = 1) -> list[dict[str, Any]]:
    """The volumes at a port, once there are so many: partitions, else bare disks."""

    def found() -> list[dict[str, Any]] | None:
        blocks = blocks_below(Path("/sys"), port_path)
        divided = {block.disk for block in blocks if block.partition}
        seen = [
            {
                "generation": block.generation,
                "lun": block.lun,
                "partition": block.partition,
                "node": block.name,
            }
            for block in blocks
            if (block.partition or block.disk not in divided) and _size(block.name) and _settled(block.name)
        ]
        return seen if len(seen) == count else None

    return _wait_for(found, f"no {count} volumes at {port_path}")


def gone(port_path: str) -> None:
    _wait_for(lambda: not blocks_below(Path("/sys"), port_path), f"still something at {port_path}")


def mount(port_path: str, volume: dict[str, Any]) -> dict[str, Any]:
    return _as_user(
        AGENT_ID, lambda: _shown(SocketMounter(_SOCKET).mount_read_only(_seen(port_path, volume)))
    )


def remount(port_path: str, volume: dict[str, Any]) -> dict[str, Any]:
    return _as_user(
        AGENT_ID, lambda: _shown(SocketMounter(_SOCKET).remount_for_release(_seen(port_path, volume)))
    )


def unmount(port_path: str, user_id: int = AGENT_ID) -> dict[str, Any]:
    def let_go() -> dict[str, Any]:
        SocketMounter(_SOCKET).unmount(port_path)
        return {}

    return _as_user(user_id, let_go)


def read_all(directory: str) -> dict[str, Any]:
    """As the agent: digest of each file of the tree, by path; or the code of what came in between."""
    return _as_user(AGENT_ID, lambda: _digests(directory))


def erase_all(directory: str) -> dict[str, Any]:
    """As the agent: every file erased and flushed, as in a release."""

    def erase() -> dict[str, Any]:
        tree = _tree(directory)
        erased = []
        with tree.open_for_release() as opened:
            for entry in list(tree.scan()):
                with tree.open_file(entry.raw_path) as reader:
                    expected: FileIdentity = reader.opened_as
                opened.erase(entry.raw_path, expected)
                erased.append(os.fsdecode(entry.raw_path))
        return {"erased": sorted(erased)}

    return _as_user(AGENT_ID, erase)


def try_to_write(directory: str, node: str) -> dict[str, str]:
    """As root, who is kept off by no permission: into the volume, and onto the device itself."""
    tried = {}
    for name, path, flags in (("file", f"{directory}/NEW", os.O_CREAT), ("device", f"/dev/{node}", 0)):
        try:
            descriptor = os.open(path, os.O_WRONLY | flags)
            try:
                os.write(descriptor, bytes(512))
                tried[name] = "written"
            finally:
                os.close(descriptor)
        except OSError as error:
            tried[name] = os.strerror(error.errno or 0)
    return tried


def write_as_a_recorder(node: str, fs_type: str, files: dict[str, str]) -> None:
    """Files by name and hexadecimal bytes, as the recorder itself would have made them: root's, and closed."""
    _mount_as_a_recorder(node, fs_type)
    for name, data in files.items():
        path = _CARD / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(data))
        path.chmod(0o600)
    subprocess.run(["/run/busybox", "umount", str(_CARD)], check=True, timeout=60)


def fill_as_a_recorder(node: str, fs_type: str, name: str) -> str:
    """Record into one file until the card is full; its digest."""
    _mount_as_a_recorder(node, fs_type)
    digest, chance = hashlib.sha256(), random.Random(1)
    with (_CARD / name).open("wb", buffering=0) as file, suppress(OSError):
        while True:
            block = chance.randbytes(4096)
            written = file.write(block)
            digest.update(block[:written])
    subprocess.run(["/run/busybox", "umount", str(_CARD)], check=True, timeout=60)
    return digest.hexdigest()


def begin_to_record(node: str, fs_type: str) -> None:
    """Mounted for writing, and something written: what a pull finds then is not in order. An exfat is in order
    whenever all is synced, so something is not."""
    _mount_as_a_recorder(node, fs_type)
    (_CARD / "REC1.TMP").write_bytes(bytes(70_000))
    os.sync()
    (_CARD / "REC2.TMP").write_bytes(bytes(70_000))


def leave_the_card() -> None:
    """The recorder was pulled with its own mount still there."""
    kernel.unmount(bytes(_CARD), lazily=True)


def _mount_as_a_recorder(node: str, fs_type: str) -> None:
    _CARD.mkdir(exist_ok=True)
    options = ["-o", "utf8=1"] if fs_type == "vfat" else []
    command = ["/run/busybox", "mount", "-t", fs_type, *options, f"/dev/{node}", str(_CARD)]
    subprocess.run(command, check=True, timeout=60)


def begin_to_mount(port_path: str, volume: dict[str, Any]) -> None:
    """As ``mount``, without waiting for the answer."""
    child = os.fork()
    if child == 0:
        Path("/run/answer").write_text(json.dumps(mount(port_path, volume)), "ascii")
        os._exit(0)
    _waiting.append(child)


def finish_mounting() -> dict[str, Any]:
    os.waitpid(_waiting.pop(), 0)
    answer: dict[str, Any] = json.loads(Path("/run/answer").read_text("ascii"))
    return answer


def mount_elsewhere(node: str, fs_type: str) -> None:
    """As if the machine itself lived on this disk."""
    Path("/run/elsewhere").mkdir(exist_ok=True)
    command = ["/run/busybox", "mount", "-o", "ro", "-t", fs_type, f"/dev/{node}", "/run/elsewhere"]
    subprocess.run(command, check=True, timeout=60)


def unmount_elsewhere() -> None:
    subprocess.run(["/run/busybox", "umount", "/run/elsewhere"], check=True, timeout=60)


def look_at(directory: str) -> dict[str, Any]:
    """How the volume is mounted and who may look into the folders above it."""
    options = ""
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        if line.split(" ")[1] == directory:
            options = line.split(" ")[3]
    above = [Path(directory).parents[depth].stat() for depth in range(2)]
    return {
        "options": options.split(","),
        "above": [[oct(found.st_mode & 0o7777), found.st_uid, found.st_gid] for found in above],
    }


def say(text: str, user_id: int = AGENT_ID) -> dict[str, Any]:
    """Hexadecimal bytes to the socket; what it answers."""

    def talk() -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_WAIT_S)
            line.connect(str(_SOCKET))
            with suppress(BrokenPipeError):
                line.sendall(bytes.fromhex(text))
                line.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):
                while piece := line.recv(4096):
                    answer += piece
            return {"answer": answer.decode("ascii")}

    return _as_user(user_id, talk)


def helper_status() -> dict[str, str]:
    """What the kernel says of the helper's privileges."""
    lines = Path(f"/proc/{_helper[-1].pid}/status").read_text("ascii").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def restart_helper(bays: list[str]) -> None:
    """Killed, as by the kernel when memory is short, and started anew."""
    _helper[-1].kill()
    _helper[-1].wait(20)
    _SOCKET.unlink()
    start_helper(bays)


def mounts_below(base: str) -> list[str]:
    lines = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    return [line.split(" ")[1] for line in lines if line.split(" ")[1].startswith(base)]


def node_of(name: str) -> dict[str, Any]:
    """Owner and mode of a device file, as udev left it."""
    found = Path(f"/dev/{name}").stat()
    return {"mode": oct(found.st_mode & 0o7777), "uid": found.st_uid, "gid": found.st_gid}


def usb_node_of(port_path: str) -> dict[str, Any]:
    """As ``node_of``, of the USB device at a port."""
    device = Path("/sys/bus/usb/devices") / port_path
    numbers = [int((device / name).read_text("ascii")) for name in ("busnum", "devnum")]
    return node_of("bus/usb/{:03}/{:03}".format(*numbers))


def is_authorised(port_path: str) -> bool:
    """Whether the kernel lets anything use the first interface at a port, once udev has seen it."""
    interface = Path("/sys/bus/usb/devices") / f"{port_path}:1.0"
    _wait_for(lambda: (interface / "authorized").exists(), f"nothing at {port_path}")
    subprocess.run(["udevadm", "settle"], check=True, timeout=300)
    return (interface / "authorized").read_text("ascii").strip() == "1"


def hold_open(path: str) -> None:
    _open.append(os.open(path, os.O_RDONLY))


def let_go() -> None:
    os.close(_open.pop())


def udev_says(name: str) -> dict[str, str]:
    """What udev has noted about a block device."""
    text = subprocess.run(
        ["udevadm", "info", "--query=property", f"/dev/{name}"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _make_user() -> None:
    passwd, group = Path("/etc/passwd"), Path("/etc/group")
    if AGENT_USER not in passwd.read_text("utf-8"):
        with passwd.open("a", encoding="utf-8") as file:
            file.write(f"{AGENT_USER}:x:{AGENT_ID}:{AGENT_ID}::/nonexistent:/usr/sbin/nologin\n")
        with group.open("a", encoding="utf-8") as file:
            file.write(f"{AGENT_USER}:x:{AGENT_ID}:\n")


def _root() -> Path:
    return Path(__file__).parents[3]


def _seen(port_path: str, volume: dict[str, Any]) -> VolumeSeen:
    return VolumeSeen(
        port_path=port_path,
        generation=volume["generation"],
        device_node=f"/dev/{volume['node']}",
        lun=volume["lun"],
        partition=volume["partition"],
        size_bytes=0,
        fs_type=None,
        label=None,
    )


def _shown(mounted: Mounted) -> dict[str, Any]:
    return {
        "directory": os.fsdecode(mounted.directory),
        "mount_id": mounted.mount_id,
        "fs_type": mounted.fs_type,
        "writable": mounted.writable,
    }


def _tree(directory: str) -> TreeVolume:
    return TreeVolume.at(os.fsencode(directory), dock="usb", bay="bay-1", label=None)


def _digests(directory: str) -> dict[str, Any]:
    tree = _tree(directory)
    digests = {}
    buffer = bytearray(1 << 18)
    for entry in list(tree.scan()):
        shown = os.fsdecode(entry.raw_path)
        if entry.obstacle is not None:
            digests[shown] = str(entry.obstacle)
            continue
        digest = hashlib.sha256()
        with tree.open_file(entry.raw_path) as reader:
            while length := reader.readinto(buffer):
                digest.update(memoryview(buffer)[:length])
            reader.verify_unchanged()
        digests[shown] = digest.hexdigest()
    return digests


def _as_user(user_id: int, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """In a child without privileges. An error of the agent's tree comes back as its code."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user_id)
            os.setuid(user_id)
            with os.fdopen(into, "w", encoding="ascii") as file:
                json.dump(_outcome(work), file)
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        text = file.read()
    os.waitpid(child, 0)
    result: dict[str, Any] = json.loads(text)
    return result


def _outcome(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except AgentError as error:
        return {"code": error.code, "message": str(error)}
    except Exception as error:
        return {"failed": repr(error)}


def _size(name: str) -> int:
    try:
        return int((Path("/sys/class/block") / name / "size").read_text("ascii"))
    except OSError:
        return 0


def _settled(name: str) -> bool:
    """Whether udev is done with a device: as on a station, nobody looks at it before."""
    device = (Path("/sys/class/block") / name / "dev").read_text("ascii").strip()
    return Path(f"/run/udev/data/b{device}").exists()


def _wait_for(question: Callable[[], _T | None], what: str) -> _T:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(_POLL_S)
    raise TimeoutError(what)
