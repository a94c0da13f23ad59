"""Which USB ports are which bays (采集口): ``bays.toml`` in the station's data directory.

    [bays]
    A01 = ["1-2", "2-2"]

A socket for USB 3 has two ports, one on each bus; both are the bay. Written by ``zhilu-agent bays learn``, or by hand.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agent.errors import AgentError

MAX_BAYS: Final = 64

_MAX_BYTES: Final = 65_536
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,3}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,6}")
"""The kernel's name of a device: bus, then the port at each hub; USB allows seven tiers."""

_DEVICES: Final = Path("/sys/bus/usb/devices")


class BaysError(AgentError):
    """The list of bays cannot be used; says which entry and why."""

    code = "bays-invalid"


Bays = Mapping[str, Sequence[str]]
"""Port paths by bay."""


def load_bays(path: Path) -> Bays:
    """Nothing where there is no file. Raises BaysError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BaysError(f"{path} has more than {_MAX_BYTES} bytes")
        return parse_bays(tomllib.loads(data.decode()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BaysError(f"{path} cannot be read: {error}") from error


def parse_bays(values: Mapping[str, object]) -> Bays:
    """Raises BaysError, also for a port that is two bays."""
    table = values.get("bays", {})
    if set(values) - {"bays"} or not isinstance(table, dict) or len(table) > MAX_BAYS:
        raise BaysError(f"expected one table, [bays], with at most {MAX_BAYS} entries")
    bays = {name: _ports(name, ports) for name, ports in table.items()}
    port_to_bay(bays)
    return bays


def port_to_bay(bays: Bays) -> Mapping[str, str]:
    """The bay of each port. Raises BaysError for a port that is two bays."""
    known: dict[str, str] = {}
    for name, ports in bays.items():
        for port in ports:
            if port in known:
                raise BaysError(f"port {port} is bay {known[port]} and bay {name}")
            known[port] = name
    return known


def store_bays(path: Path, bays: Bays) -> None:
    """Replaced in one step and durable. Raises OSError."""
    lines = ["[bays]", *(f"{name} = {json.dumps(list(ports))}" for name, ports in bays.items())]
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def next_name(bays: Bays, prefix: str) -> str:
    """The first of ``A01``, ``A02`` … that is free."""
    return next(name for number in range(1, len(bays) + 2) if (name := f"{prefix}{number:02}") not in bays)


def both_ports(port_path: str, devices: Path = _DEVICES) -> tuple[str, ...]:
    """The port, and its peer on the other bus where the kernel knows that the two are one socket."""
    parent, _, number = port_path.rpartition("." if "." in port_path else "-")
    hub = f"usb{parent}" if "." not in port_path else parent
    holder = f"{parent}-0:1.0" if "." not in port_path else f"{parent}:1.0"
    try:
        peer = os.path.basename(os.readlink(devices / holder / f"{hub}-port{number}" / "peer"))
    except OSError:
        return (port_path,)
    found = re.fullmatch(r"(?:usb([0-9]+)|([0-9]+-[0-9.]+))-port([0-9]+)", peer)
    if found is None:
        return (port_path,)
    root, other_hub, other_number = found.groups()
    other = f"{root}-{other_number}" if root else f"{other_hub}.{other_number}"
    return (port_path, other)


def _ports(name: str, ports: object) -> Sequence[str]:
    if _NAME.fullmatch(name) is None:
        raise BaysError(f"a bay is named with 1 to 32 letters, digits, - or _, not {name!r}")
    listed = [ports] if isinstance(ports, str) else ports
    if not isinstance(listed, list) or not listed:
        raise BaysError(f"bay {name} has a port, or a list of ports")
    for port in listed:
        if not isinstance(port, str) or _PORT.fullmatch(port) is None:
            raise BaysError(f"bay {name}: a port is like 1-2 or 1-2.4, not {port!r}")
    return tuple(listed)
