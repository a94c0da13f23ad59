"""A collector starts only with the keys that belong to its log."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import CollectorConfig
from collector.founding import StatementKeyError, found, open_log
from collector.keys import CollectorKeys
from collector.log.tile_files import LogKeyError

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> CollectorConfig:
    return CollectorConfig(
        data_dir=tmp_path / "data",
        name="collector",
        agencies=("hz",),
        host="127.0.0.1",
        names=("127.0.0.1",),
        http_port=8443,
        mqtt_port=8883,
    )


async def test_the_keys_of_the_log_open_it(config: CollectorConfig) -> None:
    await found(config, NOW)
    writer, _ = open_log(config, CollectorKeys.load(config.keys_dir))
    assert writer.checkpoint.size == 1


async def test_a_statement_key_the_log_does_not_know_is_refused(config: CollectorConfig) -> None:
    await found(config, NOW)
    keys = CollectorKeys.load(config.keys_dir)
    with pytest.raises(StatementKeyError):
        open_log(config, replace(keys, statement_seed=secrets.token_bytes(32)))
    with pytest.raises(LogKeyError):
        open_log(config, replace(keys, log_seed=secrets.token_bytes(32)))
