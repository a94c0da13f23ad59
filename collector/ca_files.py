"""Where the CA and the collector's certificates lie, and when they are made again.

Keys are 0600 and written durably. The CA is made once; the leaf certificates are renewed when a third of their
life is left or the names change, which stations do not notice: they trust the CA, not the leaf.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from collector.ca import SERVER_LIFETIME, CaFilesError, CertificateAuthority, Credentials, general_name
from collector.private_files import PUBLIC_MODE, read_private, write_durable

_RENEW_BELOW: Final = SERVER_LIFETIME / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFolder:
    """The folder of the collector's X.509 files; everything in it is made by ``prepare``."""

    path: Path

    @property
    def ca_certificate(self) -> Path:
        return self.path / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.path / "ca.key"

    @property
    def server_certificate(self) -> Path:
        return self.path / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.path / "server.key"

    @property
    def collector_certificate(self) -> Path:
        return self.path / "collector.pem"

    @property
    def collector_key(self) -> Path:
        return self.path / "collector.key"

    def prepare(self, names: Sequence[str], now: datetime) -> CertificateAuthority:
        """Make what is missing, renew what is due, and return the CA.

        Raises CaFilesError or KeyFileError if something stored cannot be used (it is never replaced silently),
        ServerNameError for a name that is none.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.ca_certificate.exists():
            self._create_ca(now)
        authority = self.load()
        if _is_due(self.server_certificate, now, names):
            _store(self.server_certificate, self.server_key, authority.issue_server(names, now))
        if _is_due(self.collector_certificate, now):
            _store(self.collector_certificate, self.collector_key, authority.issue_collector(now))
        for key in (self.server_key, self.collector_key):
            read_private(key)  # what loads them later does not ask who else may
        return authority

    def load(self) -> CertificateAuthority:
        """Raises CaFilesError if there is none or it is damaged, KeyFileError if its key is open to others."""
        try:
            certificate_pem = self.ca_certificate.read_bytes()
        except OSError as error:
            raise CaFilesError(f"no CA certificate at {self.ca_certificate}: {error.strerror}") from error
        return CertificateAuthority.from_pem(certificate_pem, read_private(self.ca_key))

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 as the collector's own client, trusting only this CA."""
        context = ssl.create_default_context(cafile=str(self.ca_certificate))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.collector_certificate, self.collector_key)
        return context

    def _create_ca(self, now: datetime) -> None:
        # the certificate last: a key whose certificate nobody has seen may be replaced
        authority = CertificateAuthority.create(now)
        write_durable(self.ca_key, authority.key_pem)
        write_durable(self.ca_certificate, authority.certificate_pem, mode=PUBLIC_MODE)


def default_names() -> tuple[str, ...]:
    """The names under which the machine itself and, commonly, its neighbours reach it."""
    hostname = socket.gethostname().lower()
    names = ("localhost", "127.0.0.1", "::1", hostname)
    return tuple(dict.fromkeys(name for name in names if name and name.isascii()))


def _store(certificate: Path, key: Path, credentials: Credentials) -> None:
    # the certificate is what _is_due looks at, so it comes last: a cut in between renews both again
    certificate.unlink(missing_ok=True)
    write_durable(key, credentials.key_pem)
    write_durable(certificate, credentials.certificate_pem, mode=PUBLIC_MODE)


def _is_due(path: Path, now: datetime, names: Sequence[str] | None = None) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError as error:
        raise CaFilesError(f"{path} is not a certificate: {error}") from error
    if certificate.not_valid_after_utc - now < _RENEW_BELOW:
        return True
    return names is not None and {general_name(name) for name in names} != _names_of(certificate)


def _names_of(certificate: x509.Certificate) -> set[x509.GeneralName]:
    return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
