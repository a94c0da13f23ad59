"""``explain``: somebody answers for a finding, or withdraws that, through the running collector."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Final

import aiohttp

from collector.clock import utc_now
from collector.commands.output import print_failure, print_result
from collector.config import CollectorConfig
from collector.core.access import Scope
from collector.core.explanations import EXPLAINED, WITHDRAWN, Wish
from collector.errors import CollectorAwayError
from collector.registers import Registers
from collector.registers.tokens import token_id_of
from protocol.digest import Digest
from protocol.limits import MAX_MESSAGE_BYTES

_LIFETIME: Final = timedelta(minutes=10)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)


def explain(options: argparse.Namespace) -> int:
    """Say it by the same interface as everybody, with a token that lives for this one request."""
    config = CollectorConfig.load(options.data.resolve())
    finding = Digest.parse(options.finding)
    event = WITHDRAWN if options.withdraw else EXPLAINED
    wish = Wish(event=event, actor=options.by, reason=options.reason.strip())
    with _token(config, wish.actor) as token:
        status, answer = asyncio.run(_ask(config, finding, wish, token))
    if status >= 400:
        return print_failure(options, str(answer.get("code")), str(answer.get("detail")))
    print_result(options, answer, _in_words(answer, is_new=status == 201))
    return 0


@contextmanager
def _token(config: CollectorConfig, name: str) -> Iterator[str]:
    with closing(Registers.open(config.registers_path)) as registers:
        now = utc_now()
        text = registers.issue_token(
            name=name, scopes=frozenset({Scope.EXPLAIN}), agencies=None, expires_at=now + _LIFETIME, now=now
        )
        try:
            yield text
        finally:
            registers.revoke_token(token_id_of(text), utc_now())


async def _ask(
    config: CollectorConfig, finding: Digest, wish: Wish, token: str
) -> tuple[int, Mapping[str, object]]:
    """Status and answer. Raises CollectorAwayError."""
    path = f"/api/v1/findings/{finding}/explanation" + ("/withdrawal" if wish.event == WITHDRAWN else "")
    tls = ssl.create_default_context(cafile=str(config.trust.ca_certificate))
    connector = aiohttp.TCPConnector(ssl=tls)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.post(
                f"{config.url}{path}",
                json={"reason": wish.reason},
                headers={"Authorization": f"Bearer {token}"},
            ) as answer,
        ):
            body: Mapping[str, object] = json.loads(await answer.content.read(MAX_MESSAGE_BYTES))
            return answer.status, body
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise CollectorAwayError(
            f"no collector answers at {config.url}: what is said of a finding goes through it ({error})"
        ) from error


def _in_words(said: Mapping[str, object], *, is_new: bool) -> str:
    what = "说明 explanation" if said["event"] == EXPLAINED else "撤回说明 withdrawal"
    how = "已记入日志 is in the log" if is_new else "此前已记入 was in the log before"
    return f"{what} {how}: {said['log_index']}, {said['actor']}: {said['reason']}"
