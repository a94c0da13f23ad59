"""Does whole-chain verification accept what is true and name what is not?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.digest import Digest
from protocol.errors import ChainError, EnrolmentError, ProtocolError
from protocol.ids import COLLECTOR
from protocol.note import SignerKey
from protocol.receipt import Receipt
from protocol.statements import Stored
from protocol.verify import FAILED, PASSED, Check, Content, accepted, check_receipt, verify_receipt
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    OTHER_SEED,
    STATION_SEED,
    EvidenceLog,
    Story,
    enrolled,
    header,
    inventory,
    manifest,
    rendition,
    revoked,
    stored,
)


def outcome(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.outcome for check in checks}


def failed(checks: list[Check]) -> tuple[str, str | None]:
    (check,) = [check for check in checks if check.outcome == FAILED]
    assert not accepted(checks)
    return check.name, check.code


def content_of(data: bytes) -> Content:
    return Content(digest=Digest.of(data), size_bytes=len(data))


def check_all(story: Story, **changes: object) -> list[Check]:
    given = {
        "receipt": story.receipt().to_bytes(),
        "log_key": story.log.log_key.verifier,
        "content": content_of(story.content),
        "log": story.log.copy(),
        "witnessed": story.log.note,
    } | changes
    return check_receipt(given.pop("receipt"), given.pop("log_key"), **given)  # type: ignore[arg-type]


def test_a_true_story_passes_every_check() -> None:
    checks = check_all(Story())
    assert set(outcome(checks).values()) == {PASSED}
    assert accepted(checks)


def test_a_verified_receipt_tells_where_things_stand() -> None:
    story = Story()
    verified = verify_receipt(story.receipt(), story.log.log_key.verifier)
    assert (verified.entry_index, verified.stored_index, verified.checkpoint.size) == (3, 4, 5)
    assert verified.promise == story.manifest


def test_a_receipt_survives_its_written_form() -> None:
    receipt = Story().receipt()
    assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def test_a_manifest_that_came_before_its_inventory_is_told() -> None:
    story = Story()
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
    log.add(story.manifest, STATION_SEED)
    log.add(inventory(), STATION_SEED)
    log.add(stored(story.manifest, story.manifest_id), COLLECTOR_SEED)
    story.log = log
    checks = check_all(story)
    assert accepted(checks)
    (chain,) = (check for check in checks if check.name == "chain")
    assert chain.detail.endswith("; the manifest at index 2 came before its inventory at 3")
    assert "before" not in next(check for check in check_all(Story()) if check.name == "chain").detail


def test_another_file_is_refused() -> None:
    assert failed(check_all(Story(), content=content_of(b"moving picturez"))) == (
        "content",
        "digest-mismatch",
    )


def test_another_clips_receipt_is_refused() -> None:
    other = Story(content=b"something else").receipt().to_bytes()
    assert failed(check_all(Story(), receipt=other, log=None, witnessed=None)) == (
        "content",
        "digest-mismatch",
    )


def test_another_logs_key_is_refused() -> None:
    other = SignerKey(name="log.example/zhilu", seed=b"x" * 32).verifier
    assert failed(check_all(Story(), log_key=other)) == ("log-key", "signature-invalid")


def test_every_flipped_byte_of_a_receipt_is_refused_or_changes_nothing() -> None:
    story = Story()
    good = story.receipt()
    data = good.to_bytes()
    for position in range(0, len(data), 23):
        bent = bytearray(data)
        bent[position] ^= 0x01
        try:
            same = Receipt.from_bytes(bytes(bent)) == good
        except ProtocolError:
            continue
        assert not same
        assert not accepted(check_all(story, receipt=bytes(bent))), position


def test_a_station_revoked_before_is_refused() -> None:
    story = Story()
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
    log.add(revoked(STATION_SEED), COLLECTOR_SEED)
    inventory_id = log.add(inventory(), STATION_SEED)
    claim = manifest(story.content, inventory_id)
    claim_id = log.add(claim, STATION_SEED)
    log.add(stored(claim, claim_id), COLLECTOR_SEED)
    honest = log.receipt(claim, claim_id, [0, 1, 2, 3, 4, 5]).to_bytes()
    silent = log.receipt(claim, claim_id, [0, 1, 3, 4, 5]).to_bytes()
    story.log = log
    assert failed(check_all(story, receipt=honest)) == ("keys", "key-revoked")
    assert failed(check_all(story, receipt=silent)) == ("log-revocations", "key-revoked")


def test_a_station_revoked_afterwards_does_not_harm_earlier_clips() -> None:
    story = Story()
    story.log.add(revoked(STATION_SEED), COLLECTOR_SEED)
    receipt = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4, 5]).to_bytes()
    assert accepted(check_all(story, receipt=receipt))


def test_a_log_with_a_different_history_is_refused() -> None:
    story, other = Story(), Story(content=b"rewritten history")
    assert failed(check_all(story, log=other.log.copy(), witnessed=None)) == ("log-history", "log-forked")
    other.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    assert failed(check_all(story, log=other.log.copy(), witnessed=None)) == ("log-history", "proof-invalid")
    assert failed(check_all(story, log=None, witnessed=Story(content=b"fork").log.note)) == (
        "witness",
        "log-forked",
    )


def test_a_witnessed_checkpoint_of_another_history_is_refused_though_the_log_has_grown() -> None:
    story, fork = Story(), Story(content=b"fork").log.note
    receipt = story.receipt().to_bytes()
    story.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    later = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4]).to_bytes()
    assert accepted(check_all(story, receipt=receipt))
    assert failed(check_all(story, receipt=later, witnessed=fork)) == ("witness", "log-forked")


def test_an_older_copy_of_the_log_asks_for_a_newer_one() -> None:
    story = Story()
    old = story.log.copy()
    story.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    late = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4]).to_bytes()
    assert failed(check_all(story, receipt=late, log=old, witnessed=None)) == ("log-history", "proof-invalid")


def test_a_changed_tile_of_the_log_is_refused() -> None:
    story = Story()
    bundle = next(tile for tile in story.log.tiles if tile.level == -1 and tile.width == 5)
    data = bytearray(story.log.tiles[bundle])
    data[100] ^= 1
    story.log.tiles[bundle] = bytes(data)
    assert not accepted(check_all(story, receipt=Story().receipt().to_bytes()))


def _told_by(seed: bytes, *, agency: str = AGENCY) -> Story:
    """The story with the manifest signed by another key, enrolled or not."""
    story = Story()
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
    log.add(enrolled(OTHER_SEED, name="station-2", agency="water-bureau"), COLLECTOR_SEED)
    inventory_id = log.add(inventory(), STATION_SEED)
    story.manifest = manifest(story.content, inventory_id, agency=agency)
    story.manifest_id = log.add(story.manifest, seed)
    log.add(stored(story.manifest, story.manifest_id), COLLECTOR_SEED)
    story.log = log
    return story


@pytest.mark.parametrize(
    ("seed", "agency", "code"),
    [
        (OTHER_SEED, AGENCY, "agency-not-allowed"),
        (OTHER_SEED, "water-bureau", "not-enrolled"),
        (b"u" * 32, AGENCY, "not-enrolled"),
        (STATION_SEED, "water-bureau", "agency-not-allowed"),
        (COLLECTOR_SEED, AGENCY, "not-enrolled"),
    ],
)
def test_another_stations_key_is_refused(seed: bytes, agency: str, code: str) -> None:
    story = _told_by(seed, agency=agency)
    receipt = story.log.receipt(story.manifest, story.manifest_id, list(range(6))).to_bytes()
    assert failed(check_all(story, receipt=receipt)) == ("keys", code)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, digest=Digest.of(b"other")),
        lambda s: replace(s, size_bytes=s.size_bytes + 1),
        lambda s: replace(s, header=header(9, agency="water-bureau", signer=COLLECTOR)),
        lambda s: replace(s, statement=Digest.of(b"other")),
    ],
)
def test_a_stored_statement_that_does_not_fit_is_refused(change: Callable[[Stored], Stored]) -> None:
    story = Story()
    story.log.add(change(stored(story.manifest, story.manifest_id, 77)), COLLECTOR_SEED)
    receipt = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 5])
    with pytest.raises(ChainError):
        verify_receipt(receipt, story.log.log_key.verifier)


@pytest.mark.parametrize("missing", [0, 1, 2, 3, 4])
def test_no_link_of_the_chain_can_be_left_out(missing: int) -> None:
    story = Story()
    receipt = story.log.receipt(story.manifest, story.manifest_id, [i for i in range(5) if i != missing])
    with pytest.raises((ChainError, EnrolmentError)):
        verify_receipt(receipt, story.log.log_key.verifier)


def test_a_renditions_receipt_leads_back_to_its_original() -> None:
    story, content = Story(), b"smaller pictures"
    claim = rendition(content, story.manifest.digest, story.manifest_id)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(replace(stored(claim, claim_id, 8), purpose="rendition"), COLLECTOR_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, 3, 5, 6])
    assert accepted(check_all(story, receipt=receipt.to_bytes(), content=content_of(content)))
    without_manifest = story.log.receipt(claim, claim_id, [0, 1, 2, 5, 6])
    with pytest.raises(ChainError):
        verify_receipt(without_manifest, story.log.log_key.verifier)


def test_a_rendition_of_another_original_is_refused() -> None:
    story, content = Story(), b"smaller pictures"
    claim = rendition(content, Digest.of(b"another original"), story.manifest_id)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(replace(stored(claim, claim_id, 8), purpose="rendition"), COLLECTOR_SEED)
    with pytest.raises(ChainError):
        verify_receipt(story.log.receipt(claim, claim_id, [0, 1, 2, 3, 5, 6]), story.log.log_key.verifier)


def test_proofs_under_two_checkpoints_are_refused() -> None:
    story = Story()
    early = story.receipt()
    story.log.add(revoked(OTHER_SEED), COLLECTOR_SEED)
    late = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4])
    mixed = replace(late, items=(*early.items[:2], *late.items[2:]))
    with pytest.raises(ChainError):
        verify_receipt(mixed, story.log.log_key.verifier)


def test_without_file_and_log_the_report_says_what_was_not_checked() -> None:
    story = Story()
    checks = check_receipt(story.receipt().to_bytes(), story.log.log_key.verifier)
    assert outcome(checks)["content"] == "skipped"
    assert outcome(checks)["log-history"] == "skipped"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"type":1}', b"[" * 100_000])
def test_rubbish_is_a_finding_never_a_crash(data: bytes) -> None:
    checks = check_receipt(data, Story().log.log_key.verifier)
    assert checks[0].name == "receipt-form"
    assert checks[0].outcome == FAILED
    json.dumps([check.code for check in checks])
