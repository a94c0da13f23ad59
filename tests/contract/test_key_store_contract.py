"""Do the key stores on disk and in memory behave alike, and does the one on disk guard its files?"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.keys.enrolment import Enrolment
from agent.keys.errors import KeyFileDamagedError, KeyFileOpenError, KeyLostError, NotEnrolledError
from agent.keys.station_keys import StationKeys
from agent.keys.store import FileKeyStore, KeyStore
from collector.ca import CertificateAuthority, read_csr
from protocol import ed25519
from protocol.enrolment import MqttAddress
from protocol.note import SignerKey
from tests.support.memory_keys import MemoryKeyStore

AUTHORITY = CertificateAuthority.create(datetime.now(UTC))
FILES = ("enrolment.json", "signing.key", "station.pem", "tls.key")


def enrolment_for(keys: StationKeys) -> Enrolment:
    csr = keys.certificate_request("dock-1")
    return Enrolment(
        url="https://collector.example",
        log_key=SignerKey(name="log.example", seed=bytes(32)).verifier,
        station="dock-1",
        agencies=("jing-an",),
        collector_public_key=ed25519.public_from_seed(bytes(32)),
        mqtt=MqttAddress(host="collector.example", port=8883),
        certificate_pem=AUTHORITY.issue_station(csr, keys.key_id, datetime.now(UTC)).decode(),
        ca_pem=AUTHORITY.certificate_pem.decode(),
        enrolled={"index": 1},
    )


@pytest.fixture(params=["memory", "files"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], KeyStore]:
    """Gives the store as a process started anew would find it."""
    if request.param == "files":
        return lambda: FileKeyStore(tmp_path / "keys")
    memory = MemoryKeyStore()
    return lambda: memory


def test_keys_are_made_once(reopen: Callable[[], KeyStore]) -> None:
    first, second = reopen().ensure_keys(), reopen().ensure_keys()
    assert first.seed == second.seed
    assert first.tls_key.public_key() == second.tls_key.public_key()


def test_the_keys_sign_and_request_a_certificate(reopen: Callable[[], KeyStore]) -> None:
    keys = reopen().ensure_keys()
    ed25519.verify(keys.public_key, b"message", keys.sign(b"message"))
    assert keys.key_id == ed25519.key_id(keys.public_key)
    assert read_csr(keys.certificate_request("dock-1")) == keys.tls_key.public_key()


def test_before_the_enrolment_there_is_none(reopen: Callable[[], KeyStore]) -> None:
    store = reopen()
    assert store.load_enrolment() is None
    with pytest.raises(NotEnrolledError):
        store.client_context()


def test_an_enrolment_survives(reopen: Callable[[], KeyStore]) -> None:
    enrolment = enrolment_for(reopen().ensure_keys())
    reopen().store_enrolment(enrolment)
    assert reopen().load_enrolment() == enrolment


def test_the_client_context_is_strict(reopen: Callable[[], KeyStore]) -> None:
    store = reopen()
    store.store_enrolment(enrolment_for(store.ensure_keys()))
    context = reopen().client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs(binary_form=True) == [
        ssl.PEM_cert_to_DER_cert(AUTHORITY.certificate_pem.decode())
    ]


def test_secrets_are_not_in_the_repr() -> None:
    keys = StationKeys.generate()
    assert keys.seed.hex() not in repr(keys)
    assert "seed" not in repr(keys)


def enrolled_folder(tmp_path: Path) -> Path:
    store = FileKeyStore(tmp_path / "keys")
    store.store_enrolment(enrolment_for(store.ensure_keys()))
    return tmp_path / "keys"


def test_every_file_is_closed_to_others_and_none_is_left_over(tmp_path: Path) -> None:
    folder = enrolled_folder(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
@pytest.mark.parametrize("name", ["signing.key", "tls.key"])
def test_a_key_open_to_others_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    folder = enrolled_folder(tmp_path)
    (folder / name).chmod(mode)
    with pytest.raises(KeyFileOpenError, match=f"{mode:04o}"):
        FileKeyStore(folder).ensure_keys()
    with pytest.raises(KeyFileOpenError):
        FileKeyStore(folder).client_context()


@pytest.mark.parametrize("name", ["signing.key", "tls.key"])
def test_a_lost_key_of_an_enrolled_station_is_not_made_anew(tmp_path: Path, name: str) -> None:
    folder = enrolled_folder(tmp_path)
    (folder / name).unlink()
    with pytest.raises(KeyLostError):
        FileKeyStore(folder).ensure_keys()
    assert not (folder / name).exists()


def test_a_key_made_before_a_cut_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    seed = FileKeyStore(folder).ensure_keys().seed
    (folder / "tls.key").unlink()
    assert FileKeyStore(folder).ensure_keys().seed == seed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("signing.key", b""),
        ("signing.key", b"\xff" * 100),
        ("enrolment.json", b"{}"),
        ("enrolment.json", b"\x00"),
        ("station.pem", b"-----BEGIN CERTIFICATE-----\n"),
    ],
)
def test_a_damaged_file_is_reported_as_such(tmp_path: Path, name: str, content: bytes) -> None:
    folder = enrolled_folder(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(KeyFileDamagedError):
        FileKeyStore(folder).client_context()


def test_keys_swapped_for_each_other_are_damaged(tmp_path: Path) -> None:
    folder = enrolled_folder(tmp_path)
    (folder / "signing.key").rename(folder / "x")
    (folder / "tls.key").rename(folder / "signing.key")
    (folder / "x").rename(folder / "tls.key")
    with pytest.raises(KeyFileDamagedError):
        FileKeyStore(folder).ensure_keys()
