"""Is a backup whole or none, and is what is restored from it the collector that was backed up?"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.cli import main
from collector.clock import utc_now
from collector.config import CollectorConfig
from collector.core.access import Scope
from collector.errors import StorageError
from collector.files import PosixFiles
from collector.keeping import backup as backing_up
from collector.keeping import bag
from collector.keeping.backup import BackupMade, back_up
from collector.keeping.errors import (
    BackupDamagedError,
    BackupPlaceError,
    BackupUnusableError,
    CatalogueNewerError,
    LogDamagedError,
    PassphraseError,
    RestorePlaceError,
)
from collector.keeping.restoring import Restored, restore
from collector.keeping.state import Keys
from collector.private_files import KeyFileError
from collector.progress import in_silence
from collector.registers import Registers
from protocol.digest import Digest
from tests.support.catalogues import dump
from tests.support.holdings import AGENCY, at_work, found_collector, stock

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def config(tmp_path: Path) -> CollectorConfig:
    config = found_collector(tmp_path / "collector")
    stock(config, b"one", b"two" * 1_000_000)
    return config


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def save(config: CollectorConfig, place: Path, **named: Any) -> BackupMade:
    return back_up(config, place, utc_now(), in_silence, **named)


def fetch(place: Path, target: Path, **named: Any) -> Restored:
    return restore(place, target, in_silence, **named)


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lease"
    }


def object_in(place: Path, content: bytes) -> Path:
    name = Digest.of(content).hex
    return place / f"data/objects/{AGENCY}/originals/{name[:2]}/{name[2:4]}/{name}"


def alter(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


# --- the backup ---------------------------------------------------------------------------------------------------


def test_a_backup_is_a_bag_that_common_tools_check(config: CollectorConfig, place: Path) -> None:
    made = save(config, place)
    assert made.problems == ()
    assert (place / "bagit.txt").read_text().startswith("BagIt-Version: 1.0\n")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=place, check=False
    )
    assert done.returncode == 0
    listed = {line.split("  ")[1] for line in (place / "manifest-sha256.txt").read_text().splitlines()}
    assert listed == {path for path in content_of(place) if path.startswith("data/")}
    assert len(listed) == made.files


def test_what_can_be_made_again_is_left_out(config: CollectorConfig, place: Path) -> None:
    (config.staging_dir).mkdir(exist_ok=True)
    (config.staging_dir / "half.bytes").write_bytes(b"half")
    save(config, place)
    assert not any("catalogue" in name or "half" in name or "broker" in name for name in content_of(place))


def test_the_second_backup_takes_only_what_is_new(config: CollectorConfig, place: Path) -> None:
    first = save(config, place)
    stock(config, b"three")
    second = save(config, place)
    assert second.entries > first.entries
    assert 0 < second.copied_files < 12
    assert second.copied_bytes < 100_000
    assert len(list((place / "data/state").iterdir())) == 1
    assert len(list((place / "data/log/tile/entries/000.p").iterdir())) == 1


def test_backing_up_beside_a_busy_collector(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    async def both() -> BackupMade:
        async with at_work(config) as collector:
            visits = [
                asyncio.create_task(collector.take_in(*(os.urandom(200) for _ in range(5))))
                for _ in range(12)
            ]
            made = await asyncio.to_thread(save, config, place)
            await asyncio.gather(*visits)
            return made

    made = asyncio.run(both())
    assert made.problems == ()
    restored = fetch(place, tmp_path / "restored")
    assert restored.note.entries == made.entries
    assert save(config, place).entries > made.entries


def power_cut(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["copy_objects", "check_payloads", "write_state", "items"])
def test_a_backup_cut_short_leaves_the_one_before(
    config: CollectorConfig, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    first = save(config, place)
    stock(config, b"three")

    with monkeypatch.context() as patched:
        patched.setattr(backing_up._Work, moment, power_cut)
        with pytest.raises(KeyboardInterrupt):
            save(config, place)
    assert fetch(place, tmp_path / "before").note.entries == first.entries
    assert save(config, place).entries > first.entries
    assert fetch(place, tmp_path / "after").note.entries > first.entries


def test_a_first_backup_cut_short_is_none(
    config: CollectorConfig, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag, "write_manifest", power_cut)
    with pytest.raises(KeyboardInterrupt):
        save(config, place)
    with pytest.raises(BackupUnusableError, match="written last"):
        fetch(place, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_damaged_object_is_named_and_never_copied(config: CollectorConfig, place: Path) -> None:
    stock(config, b"rotten")
    source = config.objects_dir / object_in(place, b"rotten").relative_to(place / "data/objects")
    alter(source)
    made = save(config, place)
    assert [problem.split(": ")[1] for problem in made.problems] == ["damaged"]
    assert not object_in(place, b"rotten").exists()


def test_what_the_backup_holds_is_never_replaced_by_damage(config: CollectorConfig, place: Path) -> None:
    save(config, place)
    held = object_in(place, b"one")
    alter(config.objects_dir / held.relative_to(place / "data/objects"))
    save(config, place, recheck=True)
    assert held.read_bytes() == b"one"


def test_rechecking_mends_a_damaged_backup(config: CollectorConfig, place: Path) -> None:
    save(config, place)
    alter(object_in(place, b"one"))
    assert save(config, place).copied_files == 0
    assert save(config, place, recheck=True).copied_files == 1
    assert object_in(place, b"one").read_bytes() == b"one"


def test_a_lost_statement_is_named(config: CollectorConfig, place: Path) -> None:
    (manifest,) = stock(config, b"x")
    name = manifest.hex
    (config.objects_dir / AGENCY / "statements" / name[:2] / name[2:4] / name).unlink()
    (problem,) = save(config, place).problems
    assert name in problem
    assert "missing, the statement at log index" in problem


def test_objects_the_collector_lost_stay_in_the_backup(config: CollectorConfig, place: Path) -> None:
    save(config, place)
    (config.objects_dir / object_in(place, b"one").relative_to(place / "data/objects")).unlink()
    assert save(config, place).only_here == 1
    assert object_in(place, b"one").read_bytes() == b"one"


def test_a_damaged_log_does_not_touch_the_backup(config: CollectorConfig, place: Path) -> None:
    save(config, place)
    before = content_of(place)
    size = int((config.log_dir / "checkpoint").read_text().split("\n")[1])
    for level in ("entries", "0"):
        path = config.log_dir / f"tile/{level}/000.p/{size}"
        whole = path.read_bytes()
        alter(path)
        with pytest.raises(LogDamagedError):
            save(config, place, recheck=True)
        path.write_bytes(whole)
    assert content_of(place) == before


def test_a_log_put_back_from_an_old_copy_does_not_replace_the_newer_backup(
    config: CollectorConfig, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(config.log_dir, tmp_path / "old-log")
    stock(config, b"three")
    save(config, place)
    before = content_of(place)
    shutil.rmtree(config.log_dir)
    shutil.copytree(tmp_path / "old-log", config.log_dir)
    with pytest.raises(CatalogueNewerError, match="older copy"):
        save(config, place)
    assert content_of(place) == before


def test_one_place_holds_one_collector(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    save(config, place)
    other = found_collector(tmp_path / "other", name="other")
    with pytest.raises(BackupPlaceError, match="another log"):
        save(other, place)


def test_places_that_are_no_good(config: CollectorConfig, tmp_path: Path) -> None:
    for bad in (config.data_dir, config.data_dir / "backup", config.data_dir.parent):
        with pytest.raises(BackupPlaceError):
            save(config, bad)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.odt").write_bytes(b"")
    with pytest.raises(BackupPlaceError, match="other things"):
        save(config, tmp_path / "home")


def test_a_full_disk_is_said_with_its_path(
    config: CollectorConfig, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(place))

    monkeypatch.setattr(PosixFiles, "replace", full)
    with pytest.raises(StorageError, match=str(place)) as failure:
        save(config, place)
    assert failure.value.code == "storage-full"


# --- the keys -----------------------------------------------------------------------------------------------------


def seeds(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("keys/log.key", "keys/statement.key", "tls/ca.key")]


def test_without_being_asked_a_backup_has_no_private_key(config: CollectorConfig, place: Path) -> None:
    assert save(config, place).keys is Keys.NONE
    everything = b"".join(content_of(place).values())
    assert b"PRIVATE KEY" not in everything


def test_sealed_keys_open_with_the_passphrase_alone(
    config: CollectorConfig, place: Path, tmp_path: Path
) -> None:
    assert save(config, place, passphrase=PASSPHRASE).keys is Keys.SEALED
    assert b"PRIVATE KEY" not in b"".join(content_of(place).values())
    for wrong in (None, b"correct horse battery stable"):
        with pytest.raises(PassphraseError):
            fetch(place, tmp_path / "restored", passphrase=wrong)
    fetch(place, tmp_path / "restored", passphrase=PASSPHRASE)
    assert seeds(tmp_path / "restored") == seeds(config.data_dir)
    modes = [
        stat.S_IMODE((tmp_path / "restored" / name).stat().st_mode) for name in ("keys/log.key", "tls/ca.key")
    ]
    assert modes == [0o600, 0o600]


def test_plain_keys_are_nobody_elses_to_read(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    save(config, place, with_plain_keys=True)
    keys = list(place.rglob("*.key"))
    assert len(keys) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    fetch(place, tmp_path / "restored")
    assert seeds(tmp_path / "restored") == seeds(config.data_dir)


def test_missing_keys_are_noticed_before_anything_is_copied(config: CollectorConfig, place: Path) -> None:
    (config.keys_dir / "log.key").unlink()
    with pytest.raises(KeyFileError):
        save(config, place, passphrase=PASSPHRASE)
    assert not (place / "data").exists()


@pytest.mark.parametrize(
    ("content", "mode"), [(b"too short\n", 0o600), (b"long enough for anybody\n", 0o644)]
)
def test_a_weak_or_public_passphrase_is_refused(
    config: CollectorConfig, place: Path, tmp_path: Path, content: bytes, mode: int
) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    words = ["backup", "--data", str(config.data_dir), "--to", str(place), "--passphrase-file", str(path)]
    assert main(words) == 1
    assert not place.exists()


# --- the way back -------------------------------------------------------------------------------------------------


def test_what_comes_back_is_what_was_there(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    registers = Registers.open(config.registers_path)
    token = registers.issue_token(
        name="case-system",
        scopes=frozenset({Scope.CLIPS}),
        agencies=None,
        expires_at=utc_now() + timedelta(days=1),
        now=utc_now(),
    )
    registers.close()
    save(config, place, passphrase=PASSPHRASE)
    before = dump(config.catalogue_path)
    restored = fetch(place, tmp_path / "restored", passphrase=PASSPHRASE)
    new = CollectorConfig.load(tmp_path / "restored")
    assert new == replace(config, data_dir=tmp_path / "restored")
    assert restored.problems == ()
    assert dump(new.catalogue_path) == before
    assert content_of(new.objects_dir) == content_of(config.objects_dir)
    assert (
        content_of(new.log_dir / "tile/entries/000.p").items()
        <= content_of(config.log_dir / "tile/entries/000.p").items()
    )
    found = Registers.open(new.registers_path)
    assert found.find_token(token, utc_now()) is not None
    found.close()


def test_what_comes_back_stands_an_audit(
    config: CollectorConfig, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(config, place)
    fetch(place, tmp_path / "restored")
    assert main(["audit", "--data", str(tmp_path / "restored"), "--json"]) == 0
    assert capsys.readouterr().out


def test_objects_come_back_read_only(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    save(config, place)
    fetch(place, tmp_path / "restored")
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "restored/objects").rglob("*")
        if path.is_file()
    }
    assert modes == {0o440}


def test_a_damaged_backup_is_said_and_nothing_runs_on_it(
    config: CollectorConfig, place: Path, tmp_path: Path
) -> None:
    save(config, place)
    alter(object_in(place, b"one"))
    with pytest.raises(BackupDamagedError, match="1 objects"):
        fetch(place, tmp_path / "restored")
    assert not (tmp_path / "restored/collector.toml").exists()
    restored = fetch(place, tmp_path / "restored", accept_loss=True)
    assert len(restored.problems) == 1
    assert (tmp_path / "restored/collector.toml").exists()


@pytest.mark.parametrize("name", ["registers.sqlite", "checkpoint", "collector.toml", "backup.json"])
def test_altered_state_is_noticed(config: CollectorConfig, place: Path, tmp_path: Path, name: str) -> None:
    Registers.open(config.registers_path).close()
    save(config, place)
    (path,) = (place / "data/state").glob(f"*/{name}")
    alter(path)
    with pytest.raises(BackupDamagedError):
        fetch(place, tmp_path / "restored")
    path.unlink()
    with pytest.raises(BackupDamagedError):
        fetch(place, tmp_path / "restored")


def test_a_lost_file_of_the_log_is_said(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    save(config, place)
    next((place / "data/log/tile/entries").rglob("*.p/*")).unlink()
    with pytest.raises((BackupDamagedError, LogDamagedError)):
        fetch(place, tmp_path / "restored", accept_loss=True)


@pytest.mark.parametrize(
    "line",
    ["../../etc/passwd", "data/../../x", "data//x", "/data/x", "data/log/tile/\u00e9", "data/./x"],
)
def test_a_manifest_leads_nowhere_else(
    config: CollectorConfig, place: Path, tmp_path: Path, line: str
) -> None:
    save(config, place)
    with (place / "manifest-sha256.txt").open("a") as manifest:
        manifest.write(f"{'0' * 64}  {line}\n")
    with pytest.raises(BackupUnusableError):
        fetch(place, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_only_an_empty_place_is_filled(config: CollectorConfig, place: Path, tmp_path: Path) -> None:
    save(config, place)
    before = content_of(config.data_dir)
    with pytest.raises(RestorePlaceError):
        fetch(place, config.data_dir)
    assert content_of(config.data_dir) == before


def test_a_restore_cut_short_is_none_and_may_be_repeated(
    config: CollectorConfig, place: Path, tmp_path: Path
) -> None:
    save(config, place)

    def cut_after_five(step: str, done: int, total: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(place, tmp_path / "restored", cut_after_five)
    assert main(["run", "--data", str(tmp_path / "restored")]) == 1
    fetch(place, tmp_path / "restored")
    assert dump(tmp_path / "restored/catalogue.sqlite") == dump(config.catalogue_path)
    assert not list((tmp_path / "restored").glob(".*"))


# --- going on -----------------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], words: Sequence[str | Path], code: int) -> Any:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_nobody_goes_on_before_somebody_decided(
    config: CollectorConfig, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(config, place, with_plain_keys=True)
    target = tmp_path / "restored"
    answer = said(capsys, ["restore", "--from", place, "--data", target], 0)
    assert "--seen" in answer["held"]
    assert said(capsys, ["run", "--data", target], 1)["error"]["code"] == "log-held"
    assert said(capsys, ["resume", "--data", target], 1)["decision"] is None
    seen = config.log_dir / "checkpoint"
    answer = said(capsys, ["resume", "--data", target, "--seen", seen], 0)
    assert (answer["decision"], answer["held"]) == ("newest-known", None)


def test_an_older_backup_stays_held(
    config: CollectorConfig, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(config, place, with_plain_keys=True)
    stock(config, b"after the backup")
    target, seen = tmp_path / "restored", config.log_dir / "checkpoint"
    answer = said(capsys, ["restore", "--from", place, "--data", target, "--seen", seen], 0)
    assert "second history" in answer["held"]
    assert said(capsys, ["run", "--data", target], 1)["error"]["code"] == "log-held"
    answer = said(capsys, ["resume", "--data", target, "--seen", seen, "--even-if-older"], 0)
    assert answer["decision"] == "operator"


def test_a_checkpoint_of_another_history_settles_it(
    config: CollectorConfig, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(config.data_dir, tmp_path / "twin")
    twin = replace(config, data_dir=tmp_path / "twin")
    stock(twin, b"here")
    stock(config, b"there")
    save(config, place, with_plain_keys=True)
    words = ["restore", "--from", str(place), "--data", str(tmp_path / "restored"), "--even-if-older"]
    answer = said(capsys, [*words, "--seen", twin.log_dir / "checkpoint"], 1)
    assert answer["error"]["code"] == "log-forked"
    assert not (tmp_path / "restored").exists()
