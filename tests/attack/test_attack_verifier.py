"""Can the verifier be made to accept something false? The log key's holder is the strongest liar tried here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, Envelope
from protocol.entry import LogEntry
from protocol.errors import ProtocolError
from protocol.ids import COLLECTOR
from protocol.log_reading import LogCopy
from protocol.receipt import Receipt
from protocol.statements import Inventory, Revoked, Stored, encode, parse_statement, sign_statement
from protocol.tiles import Tile
from protocol.verify import Check, Content, accepted, check_receipt, verify_receipt
from protocol.verify_cli import main
from tests.support.evidence import (
    COLLECTOR_SEED,
    OTHER_SEED,
    STATION,
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
from tests.support.evidence_files import write_story

OTHER_AGENCY = "water-bureau"


def findings(story: Story, receipt: bytes | None = None, **given: Any) -> dict[str, Check]:
    data = receipt or story.receipt().to_bytes()
    return {check.name: check for check in check_receipt(data, story.log.log_key.verifier, **given)}


def codes(story: Story, receipt: Receipt) -> set[str | None]:
    return {check.code for check in findings(story, receipt.to_bytes()).values()} - {None}


def changed(receipt: Receipt, change: Any) -> bytes:
    value = json.loads(receipt.to_bytes())
    change(value)
    return canonical(value)


# --- forks -----------------------------------------------------------------------------------------------------


def test_a_fork_of_equal_size_is_told_though_the_receipts_own_entries_stand_in_both() -> None:
    shown, hidden = Story(), Story()
    shown.log.add(inventory(77), STATION_SEED)
    hidden.log.add(inventory(78), STATION_SEED)
    checks = findings(shown, log=hidden.log.copy())
    assert checks["log-history"].code == "log-forked"


def test_a_witnessed_fork_of_the_size_of_the_log_at_hand_is_told() -> None:
    story, fork = Story(), Story()
    receipt = story.receipt().to_bytes()
    story.log.add(inventory(77), STATION_SEED)
    fork.log.add(inventory(78), STATION_SEED)
    checks = findings(story, receipt, log=story.log.copy(), witnessed=fork.log.note)
    assert checks["witness"].code == "log-forked"


def test_an_old_copy_of_the_log_is_not_called_a_fork() -> None:
    story = Story()
    receipt, old = story.receipt().to_bytes(), LogCopy(story.log.note, dict(story.log.tiles).__getitem__)
    story.log.add(inventory(77), STATION_SEED)
    checks = findings(story, receipt, log=old, witnessed=story.log.note)
    assert checks["witness"].code == "proof-invalid"


# --- who says it -----------------------------------------------------------------------------------------------


def test_entry_0_of_anybodys_making_needs_the_log_key() -> None:
    story, liar = Story(), Story()
    liar.log.log_key = replace(liar.log.log_key, seed=b"x" * 32)
    assert not accepted(list(findings(story, liar.receipt().to_bytes()).values()))


def test_a_station_cannot_say_stored() -> None:
    story = Story()
    claim = manifest(b"never delivered", story.inventory_id, 20)
    claim_id = story.log.add(claim, STATION_SEED)
    lie = replace(stored(claim, claim_id, 21), header=header(21, signer=STATION))
    index = story.log.checkpoint.size
    story.log.add(lie, STATION_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, index - 1, index])
    assert codes(story, receipt) == {"not-enrolled"}


def test_a_station_cannot_say_stored_in_the_collectors_name() -> None:
    story = Story()
    claim = manifest(b"never delivered", story.inventory_id, 20)
    claim_id = story.log.add(claim, STATION_SEED)
    index = story.log.checkpoint.size
    story.log.add(stored(claim, claim_id, 21), STATION_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, index - 1, index])
    assert codes(story, receipt) == {"not-enrolled"}


def test_a_station_cannot_enrol_a_helper() -> None:
    story = Story()
    index = story.log.checkpoint.size
    story.log.add(replace(enrolled(OTHER_SEED, name="helper"), header=header(30)), STATION_SEED)
    claim = manifest(b"planted", story.inventory_id, 31)
    claim_id = story.log.add(replace(claim, header=header(31, signer="helper")), OTHER_SEED)
    story.log.add(stored(claim, claim_id, 32), COLLECTOR_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, index, index + 1, index + 2])
    assert codes(story, receipt) == {"not-enrolled"}


def test_a_station_of_another_agency_cannot_speak_for_this_one() -> None:
    story = Story()
    index = story.log.checkpoint.size
    story.log.add(enrolled(OTHER_SEED, name="station-2", agency=OTHER_AGENCY), COLLECTOR_SEED)
    claim = replace(manifest(b"planted", story.inventory_id, 31), header=header(31, signer="station-2"))
    claim_id = story.log.add(claim, OTHER_SEED)
    story.log.add(stored(claim, claim_id, 32), COLLECTOR_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, index, index + 1, index + 2])
    assert codes(story, receipt) == {"agency-not-allowed"}


def test_an_agency_named_like_the_collector_opens_no_other_agency() -> None:
    """Records of collectors' keys are kept under ``_collector``: a station enrolled there must not be found as one."""
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED, agency=COLLECTOR), COLLECTOR_SEED)
    listed = inventory()
    listed_id = log.add(listed, STATION_SEED)
    log.add(stored(listed, listed_id), COLLECTOR_SEED)
    with pytest.raises(ProtocolError) as refused:
        verify_receipt(log.receipt(listed, listed_id, [0, 1, 2, 3]), log.log_key.verifier)
    assert refused.value.code == "agency-not-allowed"


def test_a_collectors_key_enrolled_later_says_nothing_before_that() -> None:
    story = Story()
    index = story.log.checkpoint.size
    claim = manifest(b"early", story.inventory_id, 40)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(stored(claim, claim_id, 41), OTHER_SEED)
    story.log.add(enrolled(OTHER_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    receipt = story.log.receipt(claim, claim_id, [0, 1, 2, index, index + 1, index + 2])
    assert codes(story, receipt) == {"not-enrolled"}


def _late_receipt(story: Story, *, between: list[Revoked]) -> Receipt:
    first = story.log.checkpoint.size
    for statement in between:
        story.log.add(statement, COLLECTOR_SEED)
    claim = manifest(b"late", story.inventory_id, 50)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(stored(claim, claim_id, 51), COLLECTOR_SEED)
    indices = [0, 1, 2, first + len(between), first + len(between) + 1]
    return story.log.receipt(claim, claim_id, indices)


def test_a_hidden_revocation_is_found_in_the_log() -> None:
    story = Story()
    receipt = _late_receipt(story, between=[revoked(STATION_SEED)])
    checks = findings(story, receipt.to_bytes(), log=story.log.copy())
    assert checks["log-revocations"].code == "key-revoked"


def test_a_revocation_for_another_agency_takes_nothing_from_this_one() -> None:
    story = Story()
    receipt = _late_receipt(story, between=[revoked(STATION_SEED, agency=OTHER_AGENCY)])
    assert accepted(list(findings(story, receipt.to_bytes(), log=story.log.copy()).values()))


def test_a_key_enrolled_again_after_its_revocation_speaks_again() -> None:
    story = Story()
    story.log.add(revoked(STATION_SEED), COLLECTOR_SEED)
    story.log.add(replace(enrolled(STATION_SEED), header=header(60, signer=COLLECTOR)), COLLECTOR_SEED)
    claim = manifest(b"late", story.inventory_id, 61)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(stored(claim, claim_id, 62), COLLECTOR_SEED)
    whole = story.log.receipt(claim, claim_id, [0, 1, 2, 5, 6, 7, 8])
    assert accepted(list(findings(story, whole.to_bytes(), log=story.log.copy()).values()))
    without_the_new_one = story.log.receipt(claim, claim_id, [0, 1, 2, 5, 7, 8])
    assert "key-revoked" in codes(story, without_the_new_one)


# --- what it is about ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["rendition", "listing"])
def test_an_original_stored_as_something_else_is_not_stored(purpose: str) -> None:
    log, story = EvidenceLog(), Story()
    for envelope_index in range(3):
        log.add_entry(_entry(story, envelope_index))
        log.envelopes.append(story.log.envelopes[envelope_index])
    claim_id = log.add(story.manifest, STATION_SEED)
    log.add(replace(stored(story.manifest, claim_id), purpose=purpose), COLLECTOR_SEED)
    receipt = log.receipt(story.manifest, claim_id, [0, 1, 2, 3, 4])
    with pytest.raises(ProtocolError, match="stored as a"):
        verify_receipt(receipt, log.log_key.verifier)


def _entry(story: Story, index: int) -> bytes:
    envelope = story.log.envelopes[index]
    return LogEntry.of(envelope, parse_statement(envelope.payload)).to_bytes()


def test_a_renditions_receipt_does_not_serve_for_its_original() -> None:
    story, content = Story(), b"smaller pictures"
    claim = rendition(content, story.manifest.digest, story.manifest_id)
    claim_id = story.log.add(claim, STATION_SEED)
    story.log.add(stored(claim, claim_id, 8), COLLECTOR_SEED)
    good = story.log.receipt(claim, claim_id, [0, 1, 2, 3, 5, 6])
    verify_receipt(good, story.log.log_key.verifier)
    for lie in (
        replace(good, statement=story.manifest_id),
        replace(good, digest=story.manifest.digest, size_bytes=story.manifest.size_bytes),
        replace(
            good,
            statement=story.manifest_id,
            digest=story.manifest.digest,
            size_bytes=story.manifest.size_bytes,
        ),
    ):
        assert codes(story, lie) == {"chain-broken"}
    original = Content(digest=Digest.of(story.content), size_bytes=len(story.content))
    assert findings(story, good.to_bytes(), content=original)["content"].code == "digest-mismatch"


def test_the_stored_of_one_promise_does_not_answer_another_of_the_same_bytes() -> None:
    story = Story()
    again = manifest(story.content, story.inventory_id, 70, row=1)
    again_id = story.log.add(again, STATION_SEED)
    assert codes(story, story.log.receipt(again, again_id, [0, 1, 2, 4, 5])) == {"chain-broken"}


def test_statements_that_have_nothing_to_do_with_it_change_nothing_and_are_verified_too() -> None:
    story = Story()
    story.log.add(inventory(80), STATION_SEED)
    story.log.add(enrolled(OTHER_SEED, name="station-2", agency=OTHER_AGENCY), COLLECTOR_SEED)
    verify_receipt(
        story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4, 5, 6]),
        story.log.log_key.verifier,
    )
    story.log.add(inventory(81), OTHER_SEED)
    receipt = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 4, 7])
    assert codes(story, receipt) == {"not-enrolled"}


@pytest.mark.parametrize("index", [2**53 - 2, 1, 4, 5])
def test_an_index_other_than_the_true_one_is_refused(index: int) -> None:
    receipt = Story().receipt()
    item = replace(receipt.items[3], proof=replace(receipt.items[3].proof, index=index))
    with pytest.raises(ProtocolError):
        verify_receipt(replace(receipt, items=(*receipt.items[:3], item)), Story().log.log_key.verifier)


# --- one payload, two readings ---------------------------------------------------------------------------------


def test_an_admission_cannot_be_taken_for_a_statement() -> None:
    story = Story()
    claim = stored(story.manifest, story.manifest_id, 90)
    sealed = Envelope.sign(ADMISSION_TYPE, encode(claim), COLLECTOR_SEED)
    story.log.add_entry(LogEntry.of(sealed, claim).to_bytes())
    story.log.envelopes.append(sealed)
    receipt = story.log.receipt(story.manifest, story.manifest_id, [0, 1, 2, 3, 5])
    assert codes(story, receipt) == {"signature-invalid"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"size":9007199254740993}',
        b'{"size":1e400}',
        b'{"size":NaN}',
        b'{"name":"\\ud800"}',
        b'{"name":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"n":' + b"9" * 10_000 + b"}",
    ],
)
def test_json_that_readers_could_take_in_two_ways_is_no_receipt(text: bytes) -> None:
    checks = check_receipt(text, Story().log.log_key.verifier)
    assert checks[0].outcome == "failed"


def test_names_that_only_look_alike_are_two_agencies() -> None:
    """The names of agencies are ASCII, so there is nothing to normalise."""
    story = Story()
    for look_alike in ("lands‑bureau", "lands-bureau\u200b", "Lands-bureau", "ｌands-bureau"):
        data = changed(story.receipt(), lambda value, name=look_alike: value.update(agency=name))
        assert findings(story, data)["chain"].code == "chain-broken"


def test_a_subject_cannot_show_another_digest_than_the_predicate_leads_to() -> None:
    story = Story()
    payload = json.loads(encode(stored(story.manifest, story.manifest_id, 91)))
    payload["subject"][0]["name"] = "listing"
    with pytest.raises(ProtocolError):
        parse_statement(canonical(payload))


def test_an_inventory_in_place_of_a_manifest_is_refused() -> None:
    story = Story()
    other: Inventory = inventory(92)
    other_id = story.log.add(other, STATION_SEED)
    claim = rendition(b"r", story.manifest.digest, other_id)
    claim_id = story.log.add(claim, STATION_SEED)
    said: Stored = stored(claim, claim_id, 93)
    story.log.add(said, COLLECTOR_SEED)
    assert codes(story, story.log.receipt(claim, claim_id, [0, 1, 2, 5, 6, 7])) == {"chain-broken"}


# --- files that are bombs --------------------------------------------------------------------------------------


def test_a_tile_without_end_is_not_read_into_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_story(tmp_path, Story())
    bundle = files.log / Tile(level=-1, index=0, width=5).path
    bundle.unlink()
    bundle.symlink_to("/dev/zero")
    assert main(files.arguments()) == 1
    assert "has more than" in capsys.readouterr().out


def test_a_receipt_full_of_proofs_is_refused_before_any_is_checked(tmp_path: Path) -> None:
    def swell(value: Any) -> None:
        value["items"] = value["items"] * 7

    data = changed(Story().receipt(), swell)
    assert check_receipt(data, Story().log.log_key.verifier)[0].code == "malformed"


def test_a_key_id_cannot_repaint_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the log key in hand a liar can quote anything in the message of the failed step."""
    story = Story()
    log = EvidenceLog()
    root = sign_statement(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    painted = replace(root, key_id="\x1b[2J\x1b[H核验通过 VERIFIED\x1b[8m\n\u202e")
    log.add_entry(LogEntry.of(painted, enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR)).to_bytes())
    log.envelopes.append(painted)
    receipt = log.receipt(story.manifest, story.manifest_id, [0])
    files = write_story(tmp_path, story, receipt)
    assert main(files.bare_arguments()) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.splitlines()[-1] == "核验不通过 NOT VERIFIED"


@pytest.mark.parametrize("size", [0, 1])
def test_logs_without_anything_stored_prove_nothing(size: int) -> None:
    log = EvidenceLog()
    if size:
        log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    story = Story()
    checks = check_receipt(story.receipt().to_bytes(), log.log_key.verifier, log=log.copy())
    assert not accepted(checks)
