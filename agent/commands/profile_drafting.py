"""``profiles new``: from a plugged recorder, or a mounted volume, to a new folder with a first version of its profile.

Nothing is sent to the device, and its volume is only listed. The folder holds ``profile.toml``, the listing as its
first test, and what the device's descriptors say.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.clock import utc_now
from agent.commands.output import print_result
from agent.config import AgentConfig
from agent.core.inventory import moment
from agent.errors import AgentError
from agent.mounting.client import SocketMounter
from agent.ports import ScannedEntry
from agent.usb.bays import load_bays
from agent.usb.bus import SystemUsbBus
from agent.usb.ports import DeviceSeen
from agent.volumes.tree import TreeVolume
from firmware_profiles.draft import Shown, draft_profile
from firmware_profiles.listing import MAX_FILES
from firmware_profiles.load import FILE_NAME, LISTINGS_NAME
from firmware_profiles.registry import Registry
from protocol.listing import display_path
from protocol.times import format_time


class NotPluggedError(AgentError):
    """There is nothing at the bay, or no volume that could be listed."""

    code = "not-plugged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was seen of one recorder."""

    label: str | None
    entries: Sequence[ScannedEntry]
    device: DeviceSeen | None


def draft(options: argparse.Namespace, registry: Registry) -> int:
    """Raises NotPluggedError, UsbError, VolumeError, ProfileError, OSError (also for a folder that is there)."""
    recorded = _from_folder(options.volume) if options.volume else _from_bay(options)
    family = options.folder.resolve().name
    text = draft_profile(family, _shown(recorded, registry))
    _write(options.folder, text, recorded)
    values = {"folder": str(options.folder), "files": len(recorded.entries)}
    print_result(options, values, _SAID.format(folder=options.folder, files=len(recorded.entries)))
    return 0


_SAID: Final = """\
已写入 {folder}：profile.toml、listings/first.json（{files} 个文件）。 Written.
接下来 next:
  1. 按注释补全 {folder}/profile.toml。 Complete it as its comments say.
  2. zhilu-agent profiles check {folder}
  3. zhilu-agent profiles test {folder}"""


def _from_folder(folder: Path) -> Recorded:
    root = os.fsencode(folder.resolve())
    return Recorded(label=None, entries=_listed(root), device=None)


def _from_bay(options: argparse.Namespace) -> Recorded:
    if options.data is None:
        raise NotPluggedError("--bay needs --data, the data directory of the station that has the bay")
    config = AgentConfig.load(options.data.resolve())
    ports = load_bays(config.bays_path).get(options.bay, (options.bay,))
    bus = SystemUsbBus()
    device = next((found for found in bus.devices() if found.port_path in ports), None)
    if device is None:
        raise NotPluggedError(f"nothing is plugged in at {options.bay}")
    volumes = bus.volumes(device.port_path)
    if not volumes:
        raise NotPluggedError(
            f"what is at {options.bay} shows no file system: use --volume with a copy of its card"
        )
    mounted = SocketMounter(config.mounter).mount_read_only(volumes[0])
    return Recorded(label=volumes[0].label, entries=_listed(mounted.directory), device=device)


def _listed(root: bytes) -> Sequence[ScannedEntry]:
    volume = TreeVolume.at(root, dock="new", bay="new", label=None)
    found = (entry for entry in volume.scan() if entry.obstacle is None)
    entries = sorted(found, key=lambda entry: entry.raw_path)
    return entries[:MAX_FILES]


def _shown(recorded: Recorded, registry: Registry) -> Shown:
    paths = [display_path(entry.raw_path) for entry in recorded.entries]
    kinds = {extension: kind for profile in registry.profiles for extension, kind in profile.kinds.items()}
    return Shown(
        label=recorded.label,
        paths=paths,
        device=recorded.device,
        kinds=kinds,
        rules=_rules(registry, paths),
    )


def _rules(registry: Registry, paths: Sequence[str]) -> Mapping[str, Set[str]]:
    """Rules of the program's own parts: those are what a new profile can use by name."""
    names = [path.rpartition("/")[2] for path in paths]
    grammars = {
        grammar.name: grammar
        for profile in registry.profiles
        for grammar in profile.grammars
        if profile.id == f"name_{grammar.name}"
    }
    fitting = [name for name, grammar in grammars.items() if any(map(grammar.regex.fits, names))]
    return {name: grammars[name].regex.groups for name in fitting[:1]}


def _write(folder: Path, text: str, recorded: Recorded) -> None:
    folder.mkdir(parents=True)
    (folder / LISTINGS_NAME).mkdir()
    (folder / FILE_NAME).write_text(text, "utf-8")
    (folder / LISTINGS_NAME / "first.json").write_text(_json(_listing(recorded, utc_now())), "utf-8")
    if recorded.device is not None:
        (folder / "device.json").write_text(_json(dataclasses.asdict(recorded.device)), "utf-8")


def _listing(recorded: Recorded, now: datetime) -> Mapping[str, object]:
    label = {} if recorded.label is None else {"volume_label": recorded.label}
    return {
        "schema": 1,
        "about": "As the recorder was found when its profile was begun.",
        "source": "hardware",
        "recorded_on": f"model and firmware unknown, {now.date()}",
        **label,
        "files": [_file(entry) for entry in recorded.entries],
    }


def _file(entry: ScannedEntry) -> Mapping[str, object]:
    modified_at = moment(entry.modified_ns)
    at = {} if modified_at is None else {"modified_at": format_time(modified_at)}
    return {"path": display_path(entry.raw_path), "size_bytes": entry.size_bytes, **at}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
