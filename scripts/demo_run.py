"""``scripts/demo``: collector, broker and one station on this machine; recorders docked; the outcome shown.

Exit codes: 0 everything docked is receipted and rendered (or says why not), or ended by Ctrl-C; 1 it is not, or
``--once`` was interrupted; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

from agent.config import AgentConfig
from agent.status import Snapshot, format_lines, load_status
from agent.volumes.folder import bay_name
from collector.config import CONFIG_NAME, CollectorConfig
from scripts.demo_outcome import Outcome
from scripts.demo_processes import AGENCY, STATION, Child, DemoError, call, free_port, wait_healthy
from scripts.footage import make_cards

_ONCE_TIMEOUT_S: Final = 14 * 60.0
_ZONE: Final = ZoneInfo("Asia/Shanghai")
"""What the demo's recorders are set to: the station's default."""

_ENDED: Final = frozenset({"done", "released", "not-released", "unreadable", "refused"})

_AGENT_TOML: Final = """\
# the demo's station; written anew at each start
settle_s = 1.0
reserve_mib = 64

[release]                # only the copies that the demo itself has docked are erased
enabled = true
bays = {bays}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            return _Demo(options, stack).run()
    except (DemoError, OSError, subprocess.CalledProcessError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if not options.once else 1


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Exits with 2 for what cannot be meant."""
    parser = _parser()
    options = parser.parse_args(arguments)
    data = options.data.resolve()
    for source in options.source:
        if not source.is_dir():
            parser.error(f"--source {source} is not a directory")
        if data.is_relative_to(source.resolve()):
            parser.error(
                f"--source {source} holds the demo's own --data directory: a copy of it would never end"
            )
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        help="dock a copy of this directory as a recorder; repeatable. Without: two recorders made with ffmpeg",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("demo-data"), help="keep state here (default demo-data)"
    )
    parser.add_argument("--once", action="store_true", help="end when everything is receipted and rendered")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    return parser


class _Demo:
    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack
        self._data: Path = options.data.resolve()
        self._collector_dir = self._data / "collector"
        self._agent_dir = self._data / "station"
        self._dock = self._agent_dir / "dock"

    def run(self) -> int:
        self._data.mkdir(parents=True, exist_ok=True)
        self._say("准备汇聚端和采集站 setting up collector and station …")
        collector = self._start_collector()
        self._enrol()
        bays = self._dock_sources()
        self._configure(bays)
        (self._agent_dir / "status.json").unlink(missing_ok=True)
        if not self._options.once:
            self._explain()
        station = self._child(
            "zhilu-agent", "run", "--data", str(self._agent_dir), to_console=not self._options.once
        )
        if self._options.once:
            refused = self._wait(bays, collector, station)
            return max(self._finish(), self._tell_refused(refused))
        while True:
            collector.check()
            station.check()
            time.sleep(1)

    def _start_collector(self) -> Child:
        if not (self._collector_dir / CONFIG_NAME).exists():
            call(
                "zhilu-collector", "init", "--data", str(self._collector_dir), "--name", "demo",
                "--agency", AGENCY, "--host", "127.0.0.1", "--hostname", "127.0.0.1",
                "--http-port", str(free_port()), "--mqtt-port", str(free_port()),
            )  # fmt: skip
        child = self._child("zhilu-collector", "run", "--data", str(self._collector_dir))
        config = self._collector_config()
        wait_healthy(child, config.url, config.trust.ca_certificate)
        return child

    def _collector_config(self) -> CollectorConfig:
        return CollectorConfig.load(self._collector_dir)

    def _enrol(self) -> None:
        if (self._agent_dir / "keys" / "enrolment.json").exists():
            return
        code = call(
            "zhilu-collector", "enrolment-code", "--data", str(self._collector_dir), "--station", STATION
        )["code"]
        call("zhilu-agent", "enroll", "--data", str(self._agent_dir), "-", given=code)

    def _configure(self, bays: Sequence[str]) -> None:
        """Names of bays are letters, digits and ``-_.``, so that JSON writes them as TOML does."""
        text = _AGENT_TOML.format(bays=json.dumps(bays, ensure_ascii=False))
        (self._agent_dir / "agent.toml").write_text(text, "utf-8")

    def _dock_sources(self) -> list[str]:
        self._dock.mkdir(parents=True, exist_ok=True)
        sources: list[Path] = self._options.source
        if not sources:
            footage = self._data / "footage"
            if not footage.exists():
                self._say("用 ffmpeg 生成两台记录仪的素材 making the footage of two recorders …")
                scratch = self._data / f".footage-{secrets.token_hex(4)}"
                make_cards(scratch, datetime.now(_ZONE))
                scratch.rename(footage)
            sources = sorted(footage.iterdir())
        names = volume_names(sources)
        for source, name in zip(sources, names, strict=True):
            self._dock_copy(source, name)
        return [bay_name(os.fsencode(name)) for name in names]

    def _dock_copy(self, source: Path, name: str) -> None:
        """As a volume that is mounted: complete the moment it appears. Names with a dot in front are not docked."""
        scratch = self._dock / f".incoming-{secrets.token_hex(4)}"
        shutil.copytree(source, scratch, symlinks=True)
        if (self._dock / name).exists():
            old = self._dock / f".gone-{secrets.token_hex(4)}"
            (self._dock / name).rename(old)
            shutil.rmtree(old)
        scratch.rename(self._dock / name)

    def _child(self, command: str, *arguments: str, to_console: bool = False) -> Child:
        child = Child(command, *arguments, log=None if to_console else self._data / f"{command}.log")
        self._stack.callback(child.stop)
        return child

    def _wait(self, bays: Sequence[str], *children: Child) -> Sequence[Snapshot]:
        """Until nothing is left to do. Returns the bays whose recorders were refused."""
        deadline, shown = time.monotonic() + _ONCE_TIMEOUT_S, ""
        while time.monotonic() < deadline:
            for child in children:
                child.check()
            status = load_status(self._agent_dir / "status.json")
            if status is not None:
                shown = self._show_progress(status, shown)
                tiles = {tile["bay"]: tile for tile in status["bays"] if tile["state"] in _ENDED}
                if status["idle"] and all(bay in tiles for bay in bays):
                    return [tiles[bay] for bay in bays if tiles[bay]["state"] == "refused"]
            time.sleep(0.3)
        raise DemoError(f"not finished within {_ONCE_TIMEOUT_S:.0f} s: see the logs in {self._data}")

    def _tell_refused(self, refused: Sequence[Snapshot]) -> int:
        for tile in refused:
            print(f"{tile['bay']}: {tile['problem_code']}: {tile['problem']}", file=sys.stderr)
        return 1 if refused else 0

    def _show_progress(self, status: Any, shown: str) -> str:
        text = "\n".join(format_lines(status))
        if text != shown and sys.stderr.isatty():
            print(text, file=sys.stderr)
        return text

    def _finish(self) -> int:
        outcome = Outcome(
            collector=self._collector_config(), agent=AgentConfig.load(self._agent_dir)
        ).to_json()
        counts = outcome["inventory"]
        complete = counts["pending"] == 0 and all(
            original["stored_index"] is not None
            and Path(original["receipt"]).is_file()
            and (original["renditions"] or original["not_rendered"])
            for original in outcome["originals"]
        )
        if self._options.json:
            print(json.dumps(outcome, ensure_ascii=False, indent=1))
        else:
            self._print_summary(outcome)
        return 0 if complete else 1

    def _print_summary(self, outcome: Any) -> None:
        for original in outcome["originals"]:
            kinds = ", ".join(rendition["kind"] for rendition in original["renditions"])
            print(
                f"{original['name']}  {original['size_bytes']} B  日志序号 {original['stored_index']}  {kinds}"
            )
        counts = outcome["inventory"]
        print(f"清点 listed {counts['listed']} = 入库 stored {counts['stored']} + 待传 pending {counts['pending']}"
              f" + 不可读 unreadable {counts['unreadable']} + 排除 excluded {counts['excluded']}")  # fmt: skip
        released = outcome["released"]
        print(
            f"清除 released {released['files']}, 保留 kept {released['kept']}; 清空后再清点 listed afterwards:"
            f" {sum(after['present_on_recorder'] for after in released['inventories_after'])}"
        )
        if outcome["originals"]:
            print("核验任一文件 verify any of them, for example:")
            print("  .venv/bin/zhilu-verify " + " ".join(outcome["originals"][0]["verify"]))

    def _explain(self) -> None:
        config = self._collector_config()
        token = call(
            "zhilu-collector", "token", "--data", str(self._collector_dir), "--name", "demo-viewer",
            "--scope", "clips:read", "--scope", "footage:read", "--valid-days", "1",
        )["token"]  # fmt: skip
        curl = f"curl --cacert {config.trust.ca_certificate} -H 'Authorization: Bearer {token}'"
        print(
            f"把记录仪目录拷入 drop more recorder folders into: {self._dock}"
            " （其中的文件不会被清除 their files are not erased）\n"
            f"查询 query:  {curl} '{config.url}/api/v1/clips'\n"
            f"播放 play:   {curl} -o clip.mp4 '{config.url}/api/v1/renditions/<digest>'\n"
            f"回执 receipts: .venv/bin/zhilu-agent receipts --data {self._agent_dir} --out {self._data}/receipts\n"
            f"核验 verify: .venv/bin/zhilu-verify FILE --receipt {self._data}/receipts/….json "
            f"--log-key {config.log_dir / 'vkey'} --log {config.log_dir}\n"
            "Ctrl-C 结束 ends it.\n",
            flush=True,
        )

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)


def volume_names(sources: Sequence[Path]) -> list[str]:
    """A name in the dock for each source: its own, numbered when two have the same. Names with a dot in front would
    not be docked."""
    names = [source.resolve().name.lstrip(".") or "recorder" for source in sources]
    if len(set(names)) != len(names):
        return [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return names


if __name__ == "__main__":
    sys.exit(main())
