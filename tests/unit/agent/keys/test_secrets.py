"""Are passwords found by family, refused when they are no secrets any more, and never shown?"""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from agent.keys.errors import KeyFileOpenError, KeyStoreError, SecretsDamagedError
from agent.keys.secrets import FileSecrets, Password, Secrets
from tests.support.memory_secrets import MemorySecrets


def stored(folder: Path, text: str | bytes, mode: int = 0o600) -> FileSecrets:
    path = folder / "secrets.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return FileSecrets(path)


@pytest.fixture(params=["memory", "file"])
def secrets(request: pytest.FixtureRequest, tmp_path: Path) -> Secrets:
    if request.param == "memory":
        return MemorySecrets({"one": b"000000", "two": b"\x01\xff"})
    return stored(tmp_path, '[passwords]\none = "000000"\ntwo = { hex = "01ff" }\n')


def test_a_password_is_found_by_its_family(secrets: Secrets) -> None:
    one, two = secrets.password("one"), secrets.password("two")
    assert one is not None
    assert two is not None
    assert (one.reveal(), two.reveal()) == (b"000000", b"\x01\xff")
    assert secrets.password("three") is None


def test_a_station_without_the_file_has_no_passwords(tmp_path: Path) -> None:
    assert FileSecrets(tmp_path / "secrets.toml").password("one") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secrets = stored(tmp_path, '[passwords]\none = "geheim"\n', mode)
    with pytest.raises(KeyFileOpenError, match="change the recorders' passwords") as caught:
        secrets.password("one")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[passwords]\none = "geheim\n',
        '[passwords]\none = "geheim\\q"\n',
        "[passwords]\none = geheim\n",
        'passwords = "geheim"\n',
        '[passwords]\n[geheim]\none = "x"\n',
        '[passwords]\none = ["geheim"]\n',
        '[passwords]\none = { hexx = "geheim" }\n',
        '[passwords]\none = { hex = "geheim" }\n',
        '[passwords]\none = "geheim\\u0007"\n',
        '[passwords]\none = "' + "geheim" * 11 + '"\n',
        '[passwords]\none = ""\n',
        b"\xffgeheim",
    ],
)
def test_a_damaged_file_is_refused_without_showing_what_it_says(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(SecretsDamagedError) as caught:
        stored(tmp_path, text).password("one")
    shown = "".join(traceback.format_exception(caught.value))
    assert "geheim" not in shown


def test_a_password_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    password = Password(b"geheim")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("%s %r", password, password)
    shown = [str(password), repr(password), f"{password}", repr([password]), caplog.text]
    assert all("geheim" not in text for text in shown)
    assert not hasattr(password, "__dict__")


def test_a_password_cannot_be_written_or_copied() -> None:
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            write(Password(b"geheim"))


def test_errors_of_the_store_are_of_one_tree() -> None:
    assert issubclass(SecretsDamagedError, KeyStoreError)
