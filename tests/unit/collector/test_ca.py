"""Does the CA sign what it should, under names we choose, and are its files safe?"""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.keys.station_keys import StationKeys
from collector.ca import (
    SERVER_LIFETIME,
    CaFilesError,
    CertificateAuthority,
    CsrRejectedError,
    ServerNameError,
)
from collector.ca_files import TrustFolder, default_names
from collector.private_files import KeyFileError
from protocol import ed25519
from protocol.errors import MalformedError

NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = CertificateAuthority.create(NOW)
KEY_ID = ed25519.key_id(ed25519.public_from_seed(bytes(32)))
NAMES = ["localhost", "127.0.0.1", "::1"]


def common_name(certificate: x509.Certificate) -> list[str | bytes]:
    return [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def csr_for(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "_collector")])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(authority, critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_station_gets_its_key_certified_and_none_of_its_wishes() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = x509.load_pem_x509_certificate(AUTHORITY.issue_station(csr_for(key), KEY_ID, NOW))
    assert common_name(certificate) == [KEY_ID.removeprefix("ed25519:")]
    assert certificate.public_key() == key.public_key()
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(AUTHORITY.certificate)


@pytest.mark.parametrize(
    "name",
    [
        "_collector",
        "dock-1",
        "",
        "a" * 64,
        "ed25519:",
        "ed25519:" + "A" * 64,
        "ed25519:" + "a" * 63,
        f"{KEY_ID}\n",
    ],
)
def test_no_certificate_for_what_is_no_key(name: str) -> None:
    with pytest.raises(MalformedError):
        AUTHORITY.issue_station(csr_for(ec.generate_private_key(ec.SECP256R1())), name, NOW)


def test_a_request_signed_by_another_key_is_rejected() -> None:
    csr = x509.load_pem_x509_csr(csr_for(ec.generate_private_key(ec.SECP256R1())).encode())
    der = bytearray(csr.public_bytes(serialization.Encoding.DER))
    der[der.index(b"_collector")] ^= 1
    pem = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(CsrRejectedError, match="signature"):
        AUTHORITY.issue_station(pem, KEY_ID, NOW)


@pytest.mark.parametrize(
    "csr",
    [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        AUTHORITY.certificate_pem.decode(),
        csr_for(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        csr_for(ec.generate_private_key(ec.SECP384R1())),
    ],
)
def test_what_is_no_p256_request_is_rejected(csr: str) -> None:
    with pytest.raises(CsrRejectedError):
        AUTHORITY.issue_station(csr, KEY_ID, NOW)


def test_a_leaf_never_outlives_its_ca() -> None:
    late = AUTHORITY.certificate.not_valid_after_utc - timedelta(days=30)
    pem = AUTHORITY.issue_station(StationKeys.generate().certificate_request("dock-1"), KEY_ID, late)
    assert (
        x509.load_pem_x509_certificate(pem).not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc
    )


def test_openssl_accepts_the_chain_for_its_purpose_and_name_only(tmp_path: Path) -> None:
    ca, server, station = tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "station.pem"
    ca.write_bytes(AUTHORITY.certificate_pem)
    server.write_bytes(AUTHORITY.issue_server(NAMES, NOW).certificate_pem)
    csr = StationKeys.generate().certificate_request("dock-1")
    station.write_bytes(AUTHORITY.issue_station(csr, KEY_ID, NOW))

    def accepts(*arguments: str | Path) -> bool:
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(ca), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert accepts("-purpose", "sslserver", "-verify_hostname", "localhost", server)
    assert accepts("-purpose", "sslserver", "-verify_ip", "127.0.0.1", server)
    assert accepts("-purpose", "sslclient", station)
    assert not accepts("-purpose", "sslclient", server)
    assert not accepts("-purpose", "sslserver", station)
    assert not accepts("-purpose", "sslserver", "-verify_hostname", "other.example", server)


def test_openssl_prints_the_same_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    command = ["openssl", "x509", "-in", str(tmp_path / "ca.pem"), "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert printed.strip().partition("=")[2].replace(":", "").lower() == AUTHORITY.fingerprint.hex


def test_a_name_that_is_none_is_an_error_of_ours() -> None:
    with pytest.raises(ServerNameError):
        AUTHORITY.issue_server(["采集中心"], NOW)


def test_the_machines_own_names_can_be_certified() -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= set(default_names())
    AUTHORITY.issue_server(default_names(), NOW)


def test_the_folder_is_made_once_with_closed_keys(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path / "trust")
    first = folder.prepare(NAMES, NOW)
    before = folder.server_certificate.read_bytes()
    assert folder.prepare(NAMES, NOW).fingerprint == first.fingerprint
    assert folder.server_certificate.read_bytes() == before
    for key in (folder.ca_key, folder.server_key, folder.collector_key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "ca.key", "ca.pem", "collector.key", "collector.pem", "server.key", "server.pem",
    ]  # fmt: skip
    folder.client_context()


def test_new_names_and_old_age_renew_the_server_certificate_but_not_the_ca(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path)
    authority = folder.prepare(NAMES, NOW)
    first = folder.server_certificate.read_bytes()
    folder.prepare([*NAMES, "collector.example"], NOW)
    second = folder.server_certificate.read_bytes()
    later = folder.prepare([*NAMES, "collector.example"], NOW + SERVER_LIFETIME * 0.7)
    third = folder.server_certificate.read_bytes()
    assert len({first, second, third}) == 3
    assert later.fingerprint == authority.fingerprint


def test_a_cut_between_key_and_certificate_leaves_a_folder_that_can_be_prepared(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path)
    folder.prepare(NAMES, NOW)
    folder.server_certificate.unlink()
    folder.collector_certificate.unlink()
    folder.prepare(NAMES, NOW)
    folder.client_context()


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path)
    folder.prepare(NAMES, NOW)
    folder.ca_key.chmod(0o640)
    with pytest.raises(KeyFileError, match="0640"):
        folder.load()


def test_a_lost_or_foreign_ca_key_is_never_replaced(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path)
    folder.prepare(NAMES, NOW)
    folder.ca_key.write_bytes(CertificateAuthority.create(NOW).key_pem)
    with pytest.raises(CaFilesError, match="belong"):
        folder.prepare(NAMES, NOW)
    folder.ca_key.unlink()
    with pytest.raises(KeyFileError):
        folder.prepare(NAMES, NOW)


def test_a_damaged_certificate_is_reported(tmp_path: Path) -> None:
    folder = TrustFolder(path=tmp_path)
    folder.prepare(NAMES, NOW)
    folder.ca_certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(CaFilesError):
        folder.prepare(NAMES, NOW)
