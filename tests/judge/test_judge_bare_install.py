"""Is the install without extras what a stranger needs to check evidence: the verifier and no library of either side?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.evidence import Story
from tests.support.evidence_files import EvidenceFiles, write_story
from tests.support.foreign import missing

pytestmark = pytest.mark.judge

ROOT = Path(__file__).parents[2]
UV = ROOT / ".tools/uv/bin/uv"
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
OF_ONE_SIDE = [
    "aiohttp",
    "alembic",
    "cryptography",
    "exifread",
    "ffmpeg",
    "msgspec",
    "paho",
    "prometheus_client",
    "sqlalchemy",
    "watchdog",
]
IMPORT_ALL = """
import importlib, pkgutil, protocol
for module in pkgutil.walk_packages(protocol.__path__, "protocol."):
    importlib.import_module(module.name)
    print(module.name)
"""
FIND = "import importlib.util, sys; print([n for n in sys.argv[1:] if importlib.util.find_spec(n)])"


@dataclass(frozen=True, slots=True)
class BareInstall:
    """An environment of its own with the project and nothing asked for beside it."""

    folder: Path

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run([str(self.folder / "bin" / name), *arguments], cwd=self.folder)

    def python(self, code: str, *arguments: str) -> str:
        done = self.run("python", "-I", "-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _run(command: Sequence[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def _make(folder: Path) -> None:
    """An empty environment, with uv where the project has it, else with the standard library's venv."""
    uv, venv = [str(UV), "venv", "-q", "--python", sys.executable], [sys.executable, "-m", "venv"]
    made = _run([*(uv if UV.is_file() else venv), str(folder)], cwd=folder.parent)
    assert made.returncode == 0, made.stderr


def _install(folder: Path, *what: str) -> subprocess.CompletedProcess[str]:
    python = str(folder / "bin/python")
    pip = (
        [str(UV), "pip", "install", "--python", python] if UV.is_file() else [python, "-m", "pip", "install"]
    )
    return _run([*pip, "-q", *what], cwd=folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInstall:
    folder = tmp_path_factory.mktemp("bare") / "venv"
    _make(folder)
    reachable = _install(folder, *DEPENDENCIES)
    if reachable.returncode != 0:
        missing(f"the package index cannot be reached: {reachable.stderr[-300:]}")
    installed = _install(folder, str(ROOT))
    assert installed.returncode == 0, installed.stderr
    return BareInstall(folder)


@pytest.fixture
def files(tmp_path: Path) -> EvidenceFiles:
    return write_story(tmp_path, Story())


def test_the_verifier_accepts_what_is_true(bare: BareInstall, files: EvidenceFiles) -> None:
    done = bare.run("zhilu-verify", *files.arguments(), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert {check["outcome"] for check in json.loads(done.stdout)["checks"]} == {"passed"}


def test_the_verifier_refuses_a_changed_clip(bare: BareInstall, files: EvidenceFiles) -> None:
    files.clip.write_bytes(b"x" + files.clip.read_bytes()[1:])
    done = bare.run("zhilu-verify", *files.arguments())
    assert done.returncode == 1
    assert "NOT VERIFIED" in done.stdout


def test_every_module_of_the_protocol_can_be_imported(bare: BareInstall) -> None:
    imported = bare.python(IMPORT_ALL).split()
    assert {"protocol.verify_cli", "protocol.statements.station", "protocol.receipt"} <= set(imported)


def test_nothing_of_either_side_is_installed(bare: BareInstall) -> None:
    assert bare.python(FIND, "nacl", "rfc8785", *OF_ONE_SIDE).strip() == "['nacl', 'rfc8785']"


def test_it_runs_from_the_installed_files_not_from_this_checkout(bare: BareInstall) -> None:
    where = Path(bare.python("import protocol; print(protocol.__file__)").strip())
    assert where.is_relative_to(bare.folder)
