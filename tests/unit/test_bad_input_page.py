"""Does the page about bad input name tests that exist and that show the code they are named for?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "bad-input.md"
SOURCES: Final = ("agent", "collector", "protocol", "firmware_profiles")
NO_CODE: Final = "—"
COLUMNS: Final = ["input", "what happens", "code", "shown by"]

_NAMED_TEST: Final = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


@dataclass(frozen=True)
class Row:
    """One row of the page."""

    input: str
    code: str
    tests: tuple[tuple[str, str], ...]


def rows() -> Iterator[Row]:
    for line in PAGE.read_text("utf-8").splitlines():
        if not line.startswith("|") or line.startswith("|---"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells == COLUMNS:
            continue
        assert len(cells) == len(COLUMNS), line
        yield Row(cells[0], cells[2].strip("`"), tuple(_NAMED_TEST.findall(cells[3])))


ROWS: Final = list(rows())


@cache
def file_of(name: str) -> Path:
    (found,) = (ROOT / "tests").rglob(name)
    return found


@cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@cache
def names_of_codes() -> dict[str, set[str]]:
    """For each text our code assigns to something: the names of those things, or of their classes."""
    names: dict[str, set[str]] = {}
    for path in (path for source in SOURCES for path in (ROOT / source).rglob("*.py")):
        for scope in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(scope, ast.Module | ast.ClassDef):
                continue
            for node in scope.body:
                name, value = _assigned(node)
                if name is not None and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    owner = scope.name if isinstance(scope, ast.ClassDef) else name
                    names.setdefault(value.value, set()).update({owner, name} - {"code"})
    return names


def _assigned(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return (target.id if isinstance(target, ast.Name) else None), getattr(node, "value", None)


@cache
def literals() -> frozenset[str]:
    """Every text in our code, and the codes that are made of the reasons of HTTP."""
    found = {re.sub(r"[^a-z]+", "-", status.phrase.lower()).strip("-") for status in HTTPStatus}
    for path in (path for source in SOURCES for path in (ROOT / source).rglob("*.py")):
        found |= {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    return frozenset(found)


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 60
    assert len({row.input + row.code for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.input)
def test_every_row_names_tests_that_exist(row: Row) -> None:
    assert row.tests, "no test is named"
    assert [name for file, name in row.tests if name not in functions_in(file_of(file))] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.input)
def test_every_code_exists_and_is_looked_for_where_it_is_shown(row: Row) -> None:
    """A test names the code itself, or the error or constant that carries it."""
    if row.code == NO_CODE:
        return
    assert row.code in literals(), f"nothing in the code says {row.code}"
    spellings = {f'"{row.code}"', *names_of_codes().get(row.code, set())}
    tests = [file_of(file).read_text("utf-8") for file, _ in row.tests]
    assert any(spelling in text for spelling in spellings for text in tests), spellings
