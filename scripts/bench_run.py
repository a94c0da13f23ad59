"""``scripts/bench``: speed as ratios, the product and its peers on the same files in the same run.

All contenders take turns; each round begins with the source out of the page cache and an empty target. Exit codes:
0 done, whatever was found; 1 it could not be done; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.bench_data import DataSet, clips, one_clip, photos
from scripts.bench_measure import Contender, Round
from scripts.bench_peers import Peer, curl_nginx, limit, rclone_webdav, rsync_plain, rsync_tls
from scripts.bench_product import product
from scripts.bench_report import Bar, Report
from scripts.demo_processes import DemoError

_PRODUCT: Final = "zhilu (TLS)"
_LIMIT: Final = "limit (one process)"
_PEERS: Final[Mapping[str, Peer]] = {
    "rsync -c --fsync (stunnel)": rsync_tls,
    "curl, nginx (https) + read-back": curl_nginx,
    "rclone (https) + read-back": rclone_webdav,
}
_FOR_INFORMATION: Final[Mapping[str, Peer]] = {"rsync -c --fsync (plain)": rsync_plain, _LIMIT: limit}
_PEER_SHARE: Final = 0.8
_LIMIT_SHARE: Final = 1.25
_ANNOUNCE_S: Final = 1.0
_RSS_BYTES: Final = 200 * 1_000_000
_RSS_GROWTH: Final = 1.1
_MIB: Final = 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = _parser().parse_args(arguments)
    report = Report()
    try:
        _Bench(options, report).run()
    except (DemoError, OSError, subprocess.CalledProcessError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        print(report.markdown() if options.markdown else report.text(), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(_PARTS), action="append", help="only this part; repeatable")
    parser.add_argument("--small", action="store_true", help="a tenth of the bytes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default 3)")
    parser.add_argument(
        "--skip", action="append", default=[], help="leave out contenders whose name contains this"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("bench-data"),
        help="data sets and scratch space (default bench-data)",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    return parser


class _Bench:
    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._options = options
        self._report = report
        self._data: Path = options.data.resolve()
        self._share = 0.1 if options.small else 1.0

    def run(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        for name, part in _PARTS.items():
            if not self._options.only or name in self._options.only:
                self._say(name)
                part(self)

    def clips(self) -> None:
        """Clips against the peers and against the limit."""
        found = self._race(clips(self._data, share=self._share), {**_PEERS, **_FOR_INFORMATION})
        self._compare("clips", found)
        if _PRODUCT in found and _LIMIT in found:
            ratio = found[_PRODUCT].seconds / found[_LIMIT].seconds
            self._report.add_bar(Bar(what="clips: time / limit", found=ratio, limit=_LIMIT_SHARE))

    def photos(self) -> None:
        """Photos against the peers."""
        found = self._race(photos(self._data, share=self._share), {**_PEERS, **_FOR_INFORMATION})
        self._compare("photos", found)

    def announce(self) -> None:
        """From a clip's last byte to its manifest's commit."""
        data = clips(self._data, share=self._share)
        found = self._report.contenders.get(data.name) or list(self._race(data, {}).values())
        mine = next((one for one in found if one.name == _PRODUCT), None)
        if mine is not None:
            slowest = mine.fact("announce_max_s")
            self._report.add_bar(
                Bar(what="announce: slowest clip", found=slowest, limit=_ANNOUNCE_S, unit="s")
            )

    def memory(self) -> None:
        """Peaks for many files and for one large file, and for a tenth of each."""
        few, many = (photos(self._data, share=share * self._share) for share in (0.1, 1.0))
        short, long = (one_clip(self._data, size_bytes=int(size * self._share)) for size in (0.8e9, 8e9))
        for what, less, more in (("files", few, many), ("bytes", short, long)):
            self._compare_memory(what, self._product_alone(less), self._product_alone(more))

    def _product_alone(self, data: DataSet) -> Contender:
        for one in self._report.contenders.get(data.name, ()):
            if one.name == _PRODUCT:
                return one
        contender = Contender(name=_PRODUCT, rounds=[self._once(_PRODUCT, product, data)])
        self._report.add_race(data, [contender])
        return contender

    def _compare_memory(self, what: str, less: Contender, more: Contender) -> None:
        for process in ("agent", "collector"):
            small, large = less.peak_bytes(process), more.peak_bytes(process)
            title = f"memory: {process}, 10 × the {what}"
            limit_mib = _RSS_BYTES / _MIB
            self._report.add_bar(Bar(what=f"{title}, peak", found=large / _MIB, limit=limit_mib, unit="MiB"))
            self._report.add_bar(Bar(what=f"{title}, growth", found=large / small, limit=_RSS_GROWTH))

    def _race(self, data: DataSet, others: Mapping[str, Peer]) -> Mapping[str, Contender]:
        """All in turn, again and again: what slows the machine down slows all of them."""
        runners = {
            name: run
            for name, run in {_PRODUCT: product, **others}.items()
            if not any(part in name for part in self._options.skip)
        }
        rounds: dict[str, list[Round]] = {name: [] for name in runners}
        for _ in range(self._options.rounds):
            for name, run in runners.items():
                rounds[name].append(self._once(name, run, data))
        found = {name: Contender(name=name, rounds=done) for name, done in rounds.items()}
        self._report.add_race(data, list(found.values()))
        return found

    def _once(self, name: str, run: Peer, data: DataSet) -> Round:
        scratch = self._data / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        done = run(data, scratch)
        self._say(f"{data.name}: {name}: {done.seconds:.2f} s, {done.cpu_s:.2f} CPU s")
        return done

    def _compare(self, what: str, found: Mapping[str, Contender]) -> None:
        peers = [found[name].seconds for name in _PEERS if name in found]
        if peers and _PRODUCT in found:
            ratio = found[_PRODUCT].seconds / min(peers)
            self._report.add_bar(Bar(what=f"{what}: time / best TLS peer", found=ratio, limit=_PEER_SHARE))

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


_PARTS: Final[Mapping[str, Callable[[_Bench], None]]] = {
    "clips": _Bench.clips,
    "photos": _Bench.photos,
    "announce": _Bench.announce,
    "memory": _Bench.memory,
}


if __name__ == "__main__":
    sys.exit(main())
