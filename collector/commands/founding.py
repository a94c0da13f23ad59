"""``init``: a new collector."""

from __future__ import annotations

import argparse
import asyncio

from collector.ca_files import default_names
from collector.clock import utc_now
from collector.commands.output import print_result
from collector.config import CollectorConfig
from collector.founding import found


def init(options: argparse.Namespace) -> int:
    """Make keys, CA, log and settings, or what of them is missing; shows the log key."""
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
    print_result(
        options,
        {"url": config.url, "log_key": str(key), "ca_sha256": config.trust.load().fingerprint.hex},
        f"汇聚端已就绪 collector ready in {config.data_dir}\n"
        f"日志公钥（请另行交给核验者）log key, hand it to auditors separately:\n  {key}",
    )
    return 0
