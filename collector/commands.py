"""What the subcommands of ``zhilu-collector`` do; ``cli`` parsed the words."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from collector.app import Collector, run, utc_now
from collector.ca_files import default_names
from collector.config import CollectorConfig
from collector.core.access import Scope
from collector.errors import CollectorError
from collector.founding import found
from collector.keys import CollectorKeys
from collector.logs import log_to_stderr
from collector.registers import Registers
from collector.stopping import stop_in_time
from protocol.enrolment_code import EnrolmentCode
from protocol.errors import ProtocolError
from protocol.note import SignerKey, VerifierKey


def execute(options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit code. What it writes is for its own user alone."""
    os.umask(0o077)
    log_to_stderr(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return _COMMANDS[options.command](options)
    except (CollectorError, ProtocolError) as error:
        return _failed(options, error.code, str(error))
    except OSError as error:
        return _failed(options, "system", str(error))
    except BaseExceptionGroup as group:
        if (known := group.subgroup(CollectorError)) is None:
            raise
        return _failed(options, "part-failed", str(known.exceptions[0]))


def _speak_anywhere() -> None:
    """What a terminal cannot show is shown as an escape: no name and no locale ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _init(options: argparse.Namespace) -> int:
    config = CollectorConfig(
        data_dir=options.data.resolve(),
        name=options.name,
        agencies=tuple(options.agency),
        host=options.host,
        names=tuple(options.hostname or default_names()),
        http_port=options.http_port,
        mqtt_port=options.mqtt_port,
    )
    key = asyncio.run(found(config, utc_now()))
    _print(
        options,
        {"url": config.url, "log_key": str(key), "ca_sha256": config.trust.load().fingerprint.hex},
        f"汇聚端已就绪 collector ready in {config.data_dir}\n"
        f"日志公钥（请另行交给核验者）log key, hand it to auditors separately:\n  {key}",
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    config = CollectorConfig.load(options.data.resolve())
    asyncio.run(_serve(config))
    return 0


async def _serve(config: CollectorConfig) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_in_time, stop)
    await run(config, stop, _announce)


def _announce(collector: Collector) -> None:
    print(f"汇聚端运行中 collector running at {collector.config.url}", file=sys.stderr)


def _enrolment_code(options: argparse.Namespace) -> int:
    config = CollectorConfig.load(options.data.resolve())
    agencies = tuple(options.agency or config.agencies)
    if unknown := set(agencies) - set(config.agencies):
        return _failed(
            options, "agency-unknown", f"not agencies of this collector: {', '.join(sorted(unknown))}"
        )
    registers = Registers.open(config.registers_path)
    try:
        expires_at = utc_now() + timedelta(hours=options.valid_hours)
        secret = registers.issue_code(
            station=options.station, agencies=agencies, expires_at=expires_at, now=utc_now()
        )
    finally:
        registers.close()
    code = EnrolmentCode(
        url=config.url,
        secret=secret,
        ca_fingerprint=config.trust.load().fingerprint,
        log_key=_log_key(config),
        station=options.station,
        agencies=agencies,
    ).to_text()
    _print(options, {"code": code, "station": options.station, "expires_at": expires_at.isoformat()}, code)
    return 0


def _token(options: argparse.Namespace) -> int:
    config = CollectorConfig.load(options.data.resolve())
    registers = Registers.open(config.registers_path)
    try:
        expires_at = utc_now() + timedelta(days=options.valid_days)
        token = registers.issue_token(
            name=options.name,
            scopes=frozenset(Scope(scope) for scope in options.scope),
            agencies=None if options.agency is None else frozenset(options.agency),
            expires_at=expires_at,
            now=utc_now(),
        )
    finally:
        registers.close()
    _print(options, {"token": token, "expires_at": expires_at.isoformat()}, token)
    return 0


def _log_key(config: CollectorConfig) -> VerifierKey:
    keys = CollectorKeys.load(config.keys_dir)
    return SignerKey(name=config.log_origin, seed=keys.log_seed).verifier


def _print(options: argparse.Namespace, values: Mapping[str, object], text: str) -> None:
    print(json.dumps(values, ensure_ascii=False) if options.json else text)


def _failed(options: argparse.Namespace, code: str, detail: str) -> int:
    if options.json:
        print(json.dumps({"error": {"code": code, "detail": detail}}, ensure_ascii=False))
    else:
        print(f"zhilu-collector: {code}: {detail}", file=sys.stderr)
    return 1


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "init": _init,
    "run": _run,
    "enrolment-code": _enrolment_code,
    "token": _token,
}
