"""The registers: secrets shown once, codes used once, and no change without its revision."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.catalogue import Catalogue
from collector.core.access import Scope, TokenPrincipal
from collector.database.engine import open_engine, sqlite_url, writing
from collector.registers import Registers
from collector.registers.errors import (
    CodeUnknownError,
    CodeUsedError,
    CodeWithdrawnError,
    RegisterError,
    TokenUnknownError,
)
from collector.registers.revisions import digest_of_row
from protocol.enrolment import hash_secret
from tests.support.statements import Listings

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
BOTH = frozenset(Scope)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registers.sqlite"


@pytest.fixture
def registers(path: Path) -> Iterator[Registers]:
    opened = Registers.open(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registers]:
    opened = Registers.open(tmp_path_factory.mktemp("registers") / "empty.sqlite")
    yield opened
    opened.close()


def issue(registers: Registers, name: str = "cases", agencies: frozenset[str] | None = None) -> str:
    return registers.issue_token(name=name, scopes=BOTH, agencies=agencies, expires_at=LATER, now=NOW)


def issue_code(registers: Registers) -> bytes:
    return hash_secret(
        registers.issue_code(station="dock-1", agencies=("beta", "alpha"), expires_at=LATER, now=NOW)
    )


# tokens


def test_a_token_opens_what_it_was_issued_for(registers: Registers) -> None:
    token = registers.issue_token(
        name="cases",
        scopes=frozenset({Scope.CLIPS}),
        agencies=frozenset({"beta", "alpha"}),
        expires_at=LATER,
        now=NOW,
    )
    assert registers.find_token(token, NOW) == TokenPrincipal(
        token_id=token.split("_")[1],
        name="cases",
        agencies=frozenset({"alpha", "beta"}),
        scopes=frozenset({Scope.CLIPS}),
    )


def test_a_token_for_all_agencies_is_told_from_one_for_some(registers: Registers) -> None:
    everything = registers.find_token(issue(registers), NOW)
    assert everything is not None
    assert everything.agencies is None


def test_a_token_ends_at_its_time(registers: Registers) -> None:
    token = issue(registers)
    assert registers.find_token(token, LATER - timedelta(milliseconds=1)) is not None
    assert registers.find_token(token, LATER) is None


def test_a_revoked_token_opens_nothing(registers: Registers) -> None:
    token = issue(registers)
    (listed,) = registers.tokens()
    registers.revoke_token(listed.id, NOW)
    registers.revoke_token(listed.id, LATER)
    assert registers.find_token(token, NOW) is None
    assert [one.revoked_at for one in registers.tokens()] == [NOW]
    with pytest.raises(TokenUnknownError):
        registers.revoke_token("0" * 16, NOW)


def test_the_secret_of_a_token_is_kept_nowhere(registers: Registers, path: Path) -> None:
    secret = issue(registers).rsplit("_", 1)[1]
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in kept
    assert bytes.fromhex(secret) not in kept


def test_another_secret_with_the_same_id_opens_nothing(registers: Registers) -> None:
    token, other = issue(registers), issue(registers)
    mixed = "_".join([*token.split("_")[:2], other.split("_")[2]])
    assert registers.find_token(mixed, NOW) is None


@pytest.mark.parametrize(
    "text",
    ["", "zlt_", "zlt_00_00", "Bearer x", "zlt_" + "0" * 16 + "_" + "0" * 64, "zlt_\x00", "zlt_" * 9999],
)
def test_what_is_no_token_opens_nothing(registers: Registers, text: str) -> None:
    assert registers.find_token(text, NOW) is None


def test_case_and_white_space_are_part_of_a_token(registers: Registers) -> None:
    token = issue(registers)
    for text in (token + "\n", " " + token, token.upper(), token + "0"):
        assert registers.find_token(text, NOW) is None


@given(text=st.text() | st.from_regex(r"zlt_[0-9a-f]{16}_[0-9a-f]{64}"))
def test_any_text_is_answered_without_an_error(empty: Registers, text: str) -> None:
    assert empty.find_token(text, NOW) is None


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65, "\x00"])
def test_a_token_has_a_name_fit_for_custody_events(registers: Registers, name: str) -> None:
    with pytest.raises(RegisterError):
        issue(registers, name)
    assert registers.tokens() == []


def test_a_token_that_would_open_nothing_is_not_issued(registers: Registers) -> None:
    with pytest.raises(RegisterError):
        issue(registers, agencies=frozenset())
    with pytest.raises(RegisterError):
        issue(registers, agencies=frozenset({"No Agency"}))
    with pytest.raises(RegisterError):
        registers.issue_token(name="n", scopes=frozenset(), agencies=None, expires_at=LATER, now=NOW)
    with pytest.raises(RegisterError):
        registers.issue_token(name="n", scopes=BOTH, agencies=None, expires_at=NOW, now=NOW)


# enrolment codes


def test_a_code_is_found_by_the_hash_of_its_secret(registers: Registers) -> None:
    found = registers.find(issue_code(registers))
    assert found is not None
    assert (found.station, found.agencies, found.expires_at) == ("dock-1", ("beta", "alpha"), LATER)
    assert (found.used_by, found.withdrawn) == (None, False)
    assert registers.find(b"\x00" * 32) is None


def test_a_code_is_bound_to_the_first_key_that_uses_it(registers: Registers) -> None:
    code = issue_code(registers)
    registers.use(code, "ed25519:first", NOW)
    registers.use(code, "ed25519:first", LATER)
    with pytest.raises(CodeUsedError):
        registers.use(code, "ed25519:second", NOW)
    found = registers.find(code)
    assert found is not None
    assert found.used_by == "ed25519:first"


def test_of_many_keys_at_once_exactly_one_gets_the_code(registers: Registers) -> None:
    code = issue_code(registers)

    def attempt(number: int) -> bool:
        try:
            registers.use(code, f"ed25519:{number}", NOW)
        except CodeUsedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_a_withdrawn_code_cannot_be_used(registers: Registers) -> None:
    code = issue_code(registers)
    registers.withdraw(code, NOW)
    registers.withdraw(code, NOW)
    with pytest.raises(CodeWithdrawnError):
        registers.use(code, "ed25519:first", NOW)
    with pytest.raises(CodeUnknownError):
        registers.use(b"\x00" * 32, "ed25519:first", NOW)
    with pytest.raises(CodeUnknownError):
        registers.withdraw(b"\x00" * 32, NOW)


@pytest.mark.parametrize(
    ("station", "agencies", "expires_at"),
    [
        ("Dock 1", ("alpha",), LATER),
        ("dock-1", (), LATER),
        ("dock-1", ("a", "a"), LATER),
        ("dock-1", ("a",), NOW),
    ],
)
def test_a_code_nobody_could_use_is_not_issued(
    registers: Registers, station: str, agencies: tuple[str, ...], expires_at: datetime
) -> None:
    with pytest.raises(RegisterError):
        registers.issue_code(station=station, agencies=agencies, expires_at=expires_at, now=NOW)
    assert registers.codes() == []


# revisions


def test_every_change_leaves_a_revision_and_nothing_else_does(registers: Registers) -> None:
    issue(registers)
    code = issue_code(registers)
    registers.use(code, "ed25519:first", NOW)
    registers.use(code, "ed25519:first", NOW)
    registers.withdraw(code, LATER)
    registers.revoke_token(registers.tokens()[0].id, LATER)
    made = [(one.number, one.register, one.revision, one.changed_at) for one in registers.revisions()]
    assert made == [
        (1, "tokens", 1, NOW),
        (2, "enrolment-codes", 1, NOW),
        (3, "enrolment-codes", 2, NOW),
        (4, "enrolment-codes", 3, LATER),
        (5, "tokens", 2, LATER),
    ]
    assert [one.number for one in registers.revisions(after=2, limit=2)] == [3, 4]
    assert registers.silent_changes() == []


def test_equal_rows_have_different_digests(registers: Registers) -> None:
    values = {"station": "dock-1"}
    assert digest_of_row("tokens", "1", 1, "salt", values) != digest_of_row("tokens", "1", 1, "other", values)
    assert digest_of_row("tokens", "1", 1, "salt", values) == digest_of_row("tokens", "1", 1, "salt", values)


@pytest.mark.parametrize(
    "meddling",
    [
        "UPDATE tokens SET agencies = NULL",
        "UPDATE tokens SET expires_at = expires_at + 1",
        "UPDATE tokens SET revoked_at = 1",
        "UPDATE enrolment_codes SET used_by = 'ed25519:thief'",
        "DELETE FROM tokens",
        "INSERT INTO tokens SELECT 'ffffffffffffffff', name, secret_hash, scopes, agencies, expires_at, created_at,"
        " revoked_at FROM tokens",
        "UPDATE revisions SET salt = 'x'",
    ],
)
def test_a_silent_change_shows(registers: Registers, path: Path, meddling: str) -> None:
    issue(registers, agencies=frozenset({"alpha"}))
    issue_code(registers)
    engine = open_engine(sqlite_url(path))
    with writing(engine) as connection:
        connection.exec_driver_sql(meddling)
    engine.dispose()
    assert registers.silent_changes()


def test_deleting_the_catalogue_leaves_the_registers(registers: Registers, path: Path) -> None:
    token = issue(registers)
    catalogue = path.with_name("catalogue.sqlite")
    Catalogue.open(catalogue, read_listing=Listings()).close()
    for file in catalogue.parent.glob("catalogue.sqlite*"):
        file.unlink()
    assert registers.find_token(token, NOW) is not None


def test_what_was_registered_is_there_after_opening_again(path: Path) -> None:
    first = Registers.open(path)
    token = issue(first)
    first.close()
    second = Registers.open(path)
    assert second.find_token(token, NOW) is not None
    second.close()
