"""What an administrator installs for the mount helper, as text: settings, unit, udev rules. Changes nothing."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

INSTALLED: Final[Mapping[str, str]] = {
    "mounter.toml": "/etc/zhilu/mounter.toml",
    "zhilu-mounter.service": "/etc/systemd/system/zhilu-mounter.service",
    "70-zhilu-bays.rules": "/etc/udev/rules.d/70-zhilu-bays.rules",
}
"""File of the package to where it belongs."""

_EXAMPLE: Final = ("1-2.1", "1-2.2")


def installation(*, user: str, bays: Sequence[str], program: Path) -> str:
    """A shell script that installs everything, to be read first."""
    parts = ["# 先阅读，再以 root 身份执行。 Read it, then run it as root."]
    for name, place in INSTALLED.items():
        text = filled(name, user=user, bays=bays or _EXAMPLE, program=program)
        parts.append(f"install -d -m 0755 {Path(place).parent}\ncat > {place} <<'ZHILU'\n{text}ZHILU")
    parts.append(
        "udevadm control --reload && udevadm trigger --subsystem-match=usb --subsystem-match=block\n"
        "systemctl daemon-reload && systemctl enable --now zhilu-mounter"
    )
    return "\n\n".join(parts)


def filled(name: str, *, user: str, bays: Sequence[str], program: Path) -> str:
    """One file of the package with this station's user and bays."""
    text = (importlib.resources.files(__package__) / "packaging" / name).read_text("utf-8")
    return (
        text.replace("@USER@", user)
        .replace("@PROGRAM@", str(program.absolute()))
        .replace("@BAYS@", ", ".join(f'"{bay}"' for bay in bays))
        .replace("@MARKS@", "\n".join(f'KERNELS=="{bay}", ENV{{ZHILU_BAY}}="{bay}"' for bay in bays))
    )
