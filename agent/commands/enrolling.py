"""``enroll``: first trust, with the code somebody brought."""

from __future__ import annotations

import argparse
import asyncio
import sys

from agent.commands.output import print_result
from agent.config import AgentConfig
from agent.enrol import enrol
from agent.keys.store import FileKeyStore
from protocol.enrolment import EnrolmentResponse
from protocol.enrolment_code import MAX_CODE_CHARS, EnrolmentCode
from protocol.enrolment_proof import verify_enrolment_proof
from protocol.errors import ChainError


def enroll(options: argparse.Namespace) -> int:
    """Enrol this station; the collector's answer is believed for the proof in it alone."""
    text = _read_code() if options.code == "-" else options.code
    config = AgentConfig.load(options.data.resolve())
    enrolment = asyncio.run(enrol(text, FileKeyStore(config.keys_dir), _verify_enrolled))
    print_result(
        options,
        {"station": enrolment.station, "agencies": list(enrolment.agencies), "url": enrolment.url},
        f"注册成功 enrolled: {enrolment.station} → {enrolment.url}",
    )
    return 0


def _read_code() -> str:
    """A code comes wrapped and indented at times; what is longer than twice the longest is none."""
    return sys.stdin.buffer.read(2 * MAX_CODE_CHARS).decode("utf-8", "replace")


def _verify_enrolled(code: EnrolmentCode, response: EnrolmentResponse, public_key: bytes) -> None:
    proven = verify_enrolment_proof(
        response.enrolled,
        log_key=code.log_key,
        public_key=public_key,
        station=code.station,
        agencies=code.agencies,
    )
    if proven.collector_public_key != response.collector_public_key:
        raise ChainError("the answer names another collector key than the log")
