"""The guest's first program: runs functions of this checkout as the host asks, one at a time.

``{"module": ..., "name": ..., "args": [...]}`` is answered by ``{"result": ...}`` or ``{"error": traceback}``.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

_BUSYBOX: Final = "/run/busybox"


def _port() -> int:
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text("ascii").strip() == "calls":
            return os.open(f"/dev/{name.parent.name}", os.O_RDWR)
    raise SystemExit("the guest has no line to its host")


def _say(port: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


def _answer(line: bytes) -> dict[str, Any]:
    try:
        call = json.loads(line)
        function = getattr(importlib.import_module(call["module"]), call["name"])
        return {"result": function(*call["args"])}
    except BaseException:
        return {"error": traceback.format_exc()}


def _start_udev() -> None:
    """Nothing is there yet that had to be looked at again, so nothing is triggered."""
    subprocess.run(["/usr/lib/systemd/systemd-udevd", "--daemon"], check=True, timeout=60)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    _start_udev()
    port = _port()
    _say(port, {"result": "ready"})
    pending = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            time.sleep(0.05)  # the host has hung up; this port cannot be polled for its return
            continue
        pending += data
        *lines, pending = pending.split(b"\n")
        for line in lines:
            _say(port, _answer(line))


if __name__ == "__main__":
    main()
