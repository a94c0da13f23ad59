"""``bays``: which USB ports are which bays; learnt by plugging something into one after the other."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.commands.output import print_result
from agent.config import AgentConfig
from agent.usb.bays import Bays, both_ports, load_bays, next_name, parse_bays, port_to_bay, store_bays
from agent.usb.bus import SystemUsbBus
from agent.usb.ports import DeviceSeen, UsbBus

_RESCAN_S: Final = 1.0
_HOW: Final = """\
请把同一个 U 盘或记录仪依次插入各采集口，每次等到显示采集口名后再拔出；按 Ctrl-C 结束。
Plug one device into each bay in turn; take it out when its bay is shown; Ctrl-C ends."""
_NONE: Final = "尚未指定采集口：zhilu-agent bays learn。 No bays yet."


def bays(options: argparse.Namespace) -> int:
    """One of the tasks. Raises BaysError, ConfigError, OSError."""
    path = AgentConfig.load(options.data.resolve()).bays_path
    if options.task == "list":
        return _list(options, load_bays(path))
    return _learn(options, path)


def _list(options: argparse.Namespace, known: Bays) -> int:
    plugged = {device.port_path: describe(device) for device in SystemUsbBus().devices()}
    entries = [
        (name, ports, next((plugged[port] for port in ports if port in plugged), None))
        for name, ports in known.items()
    ]
    lines = [f"{name}  {' '.join(ports)}  {device or '空'}" for name, ports, device in entries]
    values = [{"bay": name, "ports": list(ports), "device": device} for name, ports, device in entries]
    print_result(options, {"bays": values}, "\n".join(lines or [_NONE]))
    return 0


def describe(device: DeviceSeen) -> str:
    """Ids, and what it says it is; safe to print whatever it says."""
    said = " ".join(text for text in (device.manufacturer, device.product) if text)
    shown = "".join(char if char.isprintable() else "\ufffd" for char in said)
    return f"{device.vendor_id:04x}:{device.product_id:04x} {shown}".rstrip()


def _learn(options: argparse.Namespace, path: Path) -> int:
    guide = sys.stderr  # what a machine reads is the result alone
    print(_HOW, file=guide, flush=True)

    def learnt(name: str, device: DeviceSeen, is_new: bool) -> None:
        word = "新" if is_new else "已知"
        print(f"{name}  {device.port_path}  {word}  {describe(device)}", file=guide, flush=True)

    try:
        asyncio.run(learn(SystemUsbBus(), path, prefix=options.prefix, learnt=learnt, both=both_ports))
    except KeyboardInterrupt:
        print_result(
            options,
            {"bays": {name: list(ports) for name, ports in load_bays(path).items()}},
            f"已保存 {path}",
        )
    return 0


async def learn(
    bus: UsbBus,
    path: Path,
    *,
    prefix: str,
    learnt: Callable[[str, DeviceSeen, bool], None],
    both: Callable[[str], tuple[str, ...]],
) -> None:
    """Until cancelled: every device that is plugged in names the next bay, saved at once; what is there from the start
    names none. Raises BaysError, OSError, UsbError."""
    seen = {device.generation for device in await asyncio.to_thread(bus.devices)}
    async with bus.hints() as hints:
        hint = asyncio.ensure_future(anext(hints))
        while True:
            for device in await asyncio.to_thread(bus.devices):
                if device.generation not in seen:
                    seen.add(device.generation)
                    learnt(*await asyncio.to_thread(_note, path, device, prefix, both))
            await asyncio.wait({hint}, timeout=_RESCAN_S)
            if hint.done():
                hint = asyncio.ensure_future(anext(hints))


def _note(
    path: Path, device: DeviceSeen, prefix: str, both: Callable[[str], tuple[str, ...]]
) -> tuple[str, DeviceSeen, bool]:
    known = dict(load_bays(path))
    name = port_to_bay(known).get(device.port_path)
    if name is not None:
        return name, device, False
    name = next_name(known, prefix)
    known[name] = both(device.port_path)
    # checked first: what could not be loaded again must not take the place of what can
    store_bays(path, parse_bays({"bays": {bay: list(ports) for bay, ports in known.items()}}))
    return name, device, True
