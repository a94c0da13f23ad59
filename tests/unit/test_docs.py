"""Do the documents still tell the truth about the tree: modules, links, sentences, settings?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import protocol.limits
from agent.config import AgentConfig
from agent.core.bay import MAY_BE_TAKEN, BayState, sentence_of
from agent.keys.secrets import FileSecrets
from agent.usb.bays import load_bays
from collector.config import CollectorConfig
from protocol.statements import Statement
from tests.support.specimens import SPECIMENS

ROOT: Final = Path(__file__).parents[2]
ARCHITECTURE: Final = ROOT / "docs" / "architecture.md"

_NOT_OURS: Final = frozenset(
    {".venv", ".tools", ".git", ".pytest_cache", "node_modules", "demo-data", "bench-data"}
)
_MODULE: Final = re.compile(r"`((?:agent|collector|protocol|firmware_profiles|scripts)/[\w/]+\.(?:py|sql))`")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_FORBIDDEN: Final = ("/work/", "/tmp/", "/root/", "/home/")
"""Beginnings of paths that exist on one machine only."""


def markdown_files() -> list[Path]:
    """Every markdown file of the project."""
    return sorted(path for path in ROOT.rglob("*.md") if _NOT_OURS.isdisjoint(path.relative_to(ROOT).parts))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules_in(text: str) -> list[str]:
    return _MODULE.findall(text)


def section(text: str, title: str) -> str:
    """The text below a heading of level two, up to the next one."""
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"no section {title!r}"
    return rest.partition("\n## ")[0]


def anchors(markdown: str) -> set[str]:
    """What GitHub makes of the headings: lower case, letters, digits, hyphens; spaces become hyphens."""
    headings = re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", markdown), re.MULTILINE)
    return {
        "".join(
            "-" if char == " " else char
            for char in heading.strip().lower()
            if char in " -_" or unicodedata.category(char)[0] in "LN"
        )
        for heading in headings
    }


def fenced(markdown: str, language: str) -> Iterator[str]:
    """The code blocks of a language."""
    return iter(re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL))


def test_every_module_named_in_the_architecture_exists() -> None:
    named = modules_in(ARCHITECTURE.read_text("utf-8"))
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_walk_meets_each_module_once() -> None:
    walk = section(ARCHITECTURE.read_text("utf-8"), "The walk")
    steps = [line for line in walk.splitlines() if re.match(r"\d+\. |   ", line)]
    assert [path for path, times in Counter(modules_in("\n".join(steps))).items() if times > 1] == []


@pytest.mark.parametrize("room", ["agent", "collector", "protocol"])
def test_every_module_has_its_place_in_the_architecture(room: str) -> None:
    named = set(modules_in(ARCHITECTURE.read_text("utf-8")))
    modules = {
        shown(path)
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    }
    assert sorted(modules - named) == [], "name them in the walk or in the table beside the path"


@pytest.mark.parametrize("page", markdown_files(), ids=shown)
def test_no_link_inside_the_project_is_broken(page: Path) -> None:
    text = _FENCE.sub("", page.read_text("utf-8"))
    broken = []
    for target in (plain or image for plain, image in _LINK.findall(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        is_right = linked.exists() and (not anchor or anchor in anchors(linked.read_text("utf-8")))
        if not is_right:
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", markdown_files(), ids=shown)
def test_no_page_speaks_of_one_machine(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [word for word in _FORBIDDEN if word in text] == []


@pytest.mark.parametrize("state", BayState)
def test_officers_find_every_sentence_of_the_screen_explained(state: BayState) -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "officers.md").read_text("utf-8").splitlines()
        if line.startswith("|") and sentence_of(state).zh in line
    ]
    assert len(rows) == 1
    assert ("可以取走" in rows[0]) == (state in MAY_BE_TAKEN), "the page and the screen disagree"


def test_the_settings_shown_to_administrators_are_accepted(tmp_path: Path) -> None:
    shown = fenced((ROOT / "docs" / "administrators.md").read_text("utf-8"), "toml")
    names = ("agent.toml", "collector.toml", "bays.toml", "secrets.toml")
    for name, text in zip(names, shown, strict=True):
        (tmp_path / name).write_text(text, "utf-8")
        (tmp_path / name).chmod(0o600)
    assert AgentConfig.load(tmp_path) == AgentConfig(
        data_dir=tmp_path, dock_dir=tmp_path / "dock", holders={"ZFY0001": "housing-bureau"}
    )
    assert CollectorConfig.load(tmp_path).agencies == ("housing-bureau", "land-bureau")
    assert set(load_bays(tmp_path / "bays.toml")) == {"A01", "A02"}
    password = FileSecrets(tmp_path / "secrets.toml").password("example_hid_unlock")
    assert password is not None
    assert password.reveal() == b"000000"


@pytest.mark.parametrize("statement", SPECIMENS.values(), ids=SPECIMENS)
def test_every_member_of_a_statement_is_in_the_formats(statement: Statement) -> None:
    formats = (ROOT / "docs" / "formats.md").read_text("utf-8")
    members = [*statement.header.to_json(), *statement.predicate()]
    assert [name for name in members if f"`{name}`" not in formats] == []


@pytest.mark.parametrize(
    "limit",
    ["PAYLOAD_BYTES", "ENVELOPE_BYTES", "MESSAGE_BYTES", "RECEIPT_BYTES", "ENTRY_BYTES", "NOTE_BYTES"],
)
def test_the_limits_of_messages_are_those_in_the_formats(limit: str) -> None:
    value: int = getattr(protocol.limits, f"MAX_{limit}")
    assert f"{value:,} bytes" in (ROOT / "docs" / "formats.md").read_text("utf-8")
