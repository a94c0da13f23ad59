"""The parts of the bench: which contenders run over which files, and which bar is judged by which of their figures."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from scripts.bench_costs import cost_of_gigabyte, cost_of_photo, measure
from scripts.bench_data import DataSet, clips, footage, one_clip, photos
from scripts.bench_measure import Contender, Round
from scripts.bench_peers import Peer, curl_nginx, limit, rclone_webdav, rsync_plain, rsync_tls
from scripts.bench_product import product, stored
from scripts.bench_rendition import Jobs, by_ffmpeg, by_station
from scripts.bench_report import Bar, Report, Table
from scripts.bench_verification import HASHERS, audit, hashing, kept, receipt_of_first, verify

_PRODUCT: Final = "zhilu (TLS)"
_LIMIT: Final = "limit (one process)"
_PEERS: Final[Mapping[str, Peer]] = {
    "rsync -c --fsync (stunnel)": rsync_tls,
    "curl, nginx (https) + read-back": curl_nginx,
    "rclone (https) + read-back": rclone_webdav,
}
_FOR_INFORMATION: Final[Mapping[str, Peer]] = {"rsync -c --fsync (plain)": rsync_plain, _LIMIT: limit}
_REMUX: Final = "remux by the station"
_TRANSCODE: Final = "transcode by the station"
_FFMPEG: Final = "the same ffmpeg command"
_AUDIT: Final = "zhilu-collector audit"
_VERIFY: Final = "zhilu-verify"

_PEER_SHARE: Final = 0.8
_LIMIT_SHARE: Final = 1.25
_ANNOUNCE_S: Final = 1.0
_RSS_BYTES: Final = 200 * 1_000_000
_RSS_GROWTH: Final = 1.1
_REMUX_TIMES: Final = 50.0
_TRANSCODE_SHARE: Final = 1.05
_VERIFY_SHARE: Final = 0.9
_MIB: Final = 1024 * 1024

Run = Callable[[], Round]


class Bench:
    """Runs parts and puts what they find into ``report``; data sets and scratch space are below ``data``."""

    def __init__(self, report: Report, *, data: Path, scale: float, rounds: int, skip: Sequence[str]) -> None:
        self._report = report
        self._data = data
        self._scale = scale
        self._rounds = rounds
        self._skip = skip

    def clips(self) -> None:
        """Clips against the peers and against the limit."""
        found = self._race_peers(clips(self._data, scale=self._scale), {**_PEERS, **_FOR_INFORMATION})
        self._compare("clips", found)
        if _PRODUCT in found and _LIMIT in found:
            ratio = found[_PRODUCT].seconds / found[_LIMIT].seconds
            self._report.add_bar(Bar(what="clips: time / limit", found=ratio, limit=_LIMIT_SHARE))

    def limit(self) -> None:
        """Where the seconds of the limit go; they are the least anybody's can be."""
        data = clips(self._data, scale=self._scale)
        found = self._found(data, _LIMIT) or self._race_peers(data, {_LIMIT: limit}, mine=False).get(_LIMIT)
        if found is None:
            return
        gigabytes = data.size_bytes / 1e9
        rows = [
            (what, f"{found.fact(what) / gigabytes:.2f}", f"{gigabytes * 1000 / found.fact(what):.0f}")
            for what in found.rounds[0].facts
        ]
        self._report.add_table(
            Table(title="the limit, one thing after the other", head=("work", "s/GB", "MB/s"), rows=rows)
        )

    def photos(self) -> None:
        """Photos against the peers."""
        found = self._race_peers(photos(self._data, scale=self._scale), {**_PEERS, **_FOR_INFORMATION})
        self._compare("photos", found)

    def announce(self) -> None:
        """From the last byte a clip's recorder gave to the admission of its manifest, verified at the station."""
        data = clips(self._data, scale=self._scale)
        mine = self._found(data, _PRODUCT) or self._race_peers(data, {}).get(_PRODUCT)
        if mine is None:
            return
        for what, fact in (("slowest clip", "announce_max_s"), ("median clip", "announce_median_s")):
            bar = Bar(what=f"announce: {what}", found=mine.fact(fact), limit=_ANNOUNCE_S, unit="s")
            self._report.add_bar(bar)

    def memory(self) -> None:
        """Peaks for many files and for one large file, and for a tenth of each."""
        few, many = (photos(self._data, scale=share * self._scale) for share in (0.1, 1.0))
        short, long = (one_clip(self._data, size_bytes=int(size * self._scale)) for size in (0.8e9, 8e9))
        for what, less, more in (("files", few, many), ("bytes", short, long)):
            self._compare_memory(what, self._product_alone(less), self._product_alone(more))

    def rendition(self) -> None:
        """Repackaging against transcoding, and the station's job against the bare command."""
        data = footage(self._data, seconds=max(5, round(60 * self._scale)))
        jobs = asyncio.run(Jobs.of(data.files[0]))
        scratch = self._data / "scratch"
        found = self._race(
            data,
            {
                _REMUX: partial(by_station, jobs, jobs.remux, data, scratch),
                _TRANSCODE: partial(by_station, jobs, jobs.transcode, data, scratch),
                _FFMPEG: partial(by_ffmpeg, jobs.transcode, data, scratch),
            },
        )
        if _TRANSCODE not in found:
            return
        mine = found[_TRANSCODE]
        if _REMUX in found:
            times = mine.seconds / found[_REMUX].seconds
            self._report.add_bar(
                Bar(what="rendition: transcode / remux", found=times, limit=_REMUX_TIMES, at_least=True)
            )
        if (bare := found.get(_FFMPEG)) is not None:
            for unit, ratio in (("time", mine.seconds / bare.seconds), ("CPU", mine.cpu_s / bare.cpu_s)):
                what = f"rendition: transcode / plain ffmpeg, {unit}"
                self._report.add_bar(Bar(what=what, found=ratio, limit=_TRANSCODE_SHARE))

    def verification(self) -> None:
        """A whole collector, and one file, against hashing the same bytes."""
        data = clips(self._data, scale=self._scale)
        scratch = self._data / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        with stored(data, scratch) as site:
            held = kept(site)
            files = held.files
            hashers = {name: partial(hashing, hasher, files) for name, hasher in HASHERS.items()}
            found = self._race(held, {_AUDIT: partial(audit, site, held), **hashers}, processes=False)
            receipt = receipt_of_first(site, data, scratch / "receipt")
            single = replace(data, name="one clip", paths=data.files[:1])
            hashers = {name: partial(hashing, hasher, single.files) for name, hasher in HASHERS.items()}
            self._race(single, {_VERIFY: partial(verify, site, data, receipt), **hashers}, processes=False)
        hashed = [found[name].seconds for name in HASHERS if name in found]
        if hashed and _AUDIT in found:
            share = min(hashed) / found[_AUDIT].seconds
            what = "verification: speed / speed of hashing the same bytes"
            self._report.add_bar(Bar(what=what, found=share, limit=_VERIFY_SHARE, at_least=True))

    def costs(self) -> None:
        """Where the CPU time of a gigabyte goes: each kind of work alone, and how often a byte meets it."""
        scratch = self._data / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        costs = measure(scratch, blocks=max(64, round(2048 * self._scale)))
        shutil.rmtree(scratch)
        for data, model in (
            (clips(self._data, scale=self._scale), cost_of_gigabyte),
            (photos(self._data, scale=self._scale), cost_of_photo),
        ):
            self._report.add_table(model(costs, self._product_alone(data), data))

    def say(self, text: str) -> None:
        """Progress, for whoever watches."""
        print(text, file=sys.stderr, flush=True)

    def _found(self, data: DataSet, name: str) -> Contender | None:
        """What an earlier part of this run found."""
        raced = self._report.contenders.get(data.name, ())
        return next((one for one in raced if one.name == name), None)

    def _product_alone(self, data: DataSet) -> Contender:
        found = self._found(data, _PRODUCT)
        if found is None:
            (found,) = self._race(data, {_PRODUCT: self._fresh(product, data)}, rounds=1).values()
        return found

    def _compare_memory(self, what: str, less: Contender, more: Contender) -> None:
        for process in ("agent", "collector"):
            small, large = less.peak_bytes(process), more.peak_bytes(process)
            title = f"memory: {process}, 10 × the {what}"
            limit_mib = _RSS_BYTES / _MIB
            self._report.add_bar(Bar(what=f"{title}, peak", found=large / _MIB, limit=limit_mib, unit="MiB"))
            self._report.add_bar(Bar(what=f"{title}, growth", found=large / small, limit=_RSS_GROWTH))

    def _race_peers(
        self, data: DataSet, others: Mapping[str, Peer], *, mine: bool = True
    ) -> Mapping[str, Contender]:
        peers = {**({_PRODUCT: product} if mine else {}), **others}
        return self._race(data, {name: self._fresh(run, data) for name, run in peers.items()})

    def _fresh(self, run: Peer, data: DataSet) -> Run:
        def once() -> Round:
            scratch = self._data / "scratch"
            shutil.rmtree(scratch, ignore_errors=True)
            return run(data, scratch)

        return once

    def _race(
        self, data: DataSet, runs: Mapping[str, Run], *, rounds: int | None = None, processes: bool = True
    ) -> Mapping[str, Contender]:
        """All in turn, again and again: what slows the machine down slows all of them."""
        chosen = {name: run for name, run in runs.items() if not any(part in name for part in self._skip)}
        done: dict[str, list[Round]] = {name: [] for name in chosen}
        for _ in range(rounds or self._rounds):
            for name, run in chosen.items():
                one = run()
                self.say(f"{data.name}: {name}: {one.seconds:.2f} s, {one.cpu_s:.2f} CPU s")
                done[name].append(one)
        found = {name: Contender(name=name, rounds=its) for name, its in done.items()}
        self._report.add_race(data, list(found.values()), processes=processes)
        return found

    def _compare(self, what: str, found: Mapping[str, Contender]) -> None:
        peers = [found[name].seconds for name in _PEERS if name in found]
        if peers and _PRODUCT in found:
            ratio = found[_PRODUCT].seconds / min(peers)
            self._report.add_bar(Bar(what=f"{what}: time / best TLS peer", found=ratio, limit=_PEER_SHARE))


PARTS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "clips": Bench.clips,
    "limit": Bench.limit,
    "announce": Bench.announce,
    "photos": Bench.photos,
    "costs": Bench.costs,
    "memory": Bench.memory,
    "rendition": Bench.rendition,
    "verification": Bench.verification,
}
