"""``enrolment-code`` and ``token``: what lets stations in and people read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from collector.clock import utc_now
from collector.commands.output import print_failure, print_result
from collector.config import CollectorConfig
from collector.core.access import Scope
from collector.importing.identity import IMPORTER
from collector.keys import CollectorKeys
from collector.registers import Registers
from protocol.enrolment_code import EnrolmentCode
from protocol.note import SignerKey, VerifierKey


def enrolment_code(options: argparse.Namespace) -> int:
    """A code that admits one station, once."""
    config = CollectorConfig.load(options.data.resolve())
    agencies = tuple(options.agency or config.agencies)
    if unknown := set(agencies) - set(config.agencies):
        return print_failure(
            options, "agency-unknown", f"not agencies of this collector: {', '.join(sorted(unknown))}"
        )
    if options.station == IMPORTER:
        return print_failure(options, "name-reserved", f"no station is called {IMPORTER}: imports sign so")
    expires_at = utc_now() + timedelta(hours=options.valid_hours)
    with _registers(config) as registers:
        secret = registers.issue_code(
            station=options.station, agencies=agencies, expires_at=expires_at, now=utc_now()
        )
    code = EnrolmentCode(
        url=config.url,
        secret=secret,
        ca_fingerprint=config.trust.load().fingerprint,
        log_key=_log_key(config),
        station=options.station,
        agencies=agencies,
    ).to_text()
    print_result(
        options, {"code": code, "station": options.station, "expires_at": expires_at.isoformat()}, code
    )
    return 0


def token(options: argparse.Namespace) -> int:
    """A token for whoever reads; shown once."""
    config = CollectorConfig.load(options.data.resolve())
    expires_at = utc_now() + timedelta(days=options.valid_days)
    with _registers(config) as registers:
        secret = registers.issue_token(
            name=options.name,
            scopes=frozenset(Scope(scope) for scope in options.scope),
            agencies=None if options.agency is None else frozenset(options.agency),
            expires_at=expires_at,
            now=utc_now(),
        )
    print_result(options, {"token": secret, "expires_at": expires_at.isoformat()}, secret)
    return 0


@contextmanager
def _registers(config: CollectorConfig) -> Iterator[Registers]:
    registers = Registers.open(config.registers_path)
    try:
        yield registers
    finally:
        registers.close()


def _log_key(config: CollectorConfig) -> VerifierKey:
    keys = CollectorKeys.load(config.keys_dir)
    return SignerKey(name=config.log_origin, seed=keys.log_seed).verifier
