"""Is a receipt verified together with others worth exactly what it is worth alone?"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signer import MadeStatements
from protocol.errors import ProtocolError
from protocol.receipt import Receipt
from protocol.receipt_parts import ReceiptParts
from protocol.statements import parse_statement, sign_statement
from protocol.verify import VerifiedReceipt, verify_receipt, verify_receipt_with
from tests.support.evidence import STATION_SEED, Story

STORIES = [Story(), Story(content=b"another clip")]
VALUES: list[Any] = [json.loads(story.receipt().to_bytes()) for story in STORIES]
LOG_KEY = STORIES[0].log.log_key.verifier

Mutation = Callable[[Any], None]


def flip(text: str, place: int) -> str:
    at = place % len(text)
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def leave(_value: Any) -> None:
    """As it is."""


def on_item(number: int, change: Callable[[Any], None]) -> Mutation:
    return lambda value: change(value["items"][number % len(value["items"])])


def flip_proof(place: int) -> Callable[[Any], None]:
    return lambda item: item.update(proof=flip(item["proof"], place))


def flip_payload(place: int) -> Callable[[Any], None]:
    return lambda item: item["envelope"].update(payload=flip(item["envelope"]["payload"], place))


def flip_signature(place: int) -> Callable[[Any], None]:
    def change(item: Any) -> None:
        (signature,) = item["envelope"]["signatures"]
        signature["sig"] = flip(signature["sig"], place)

    return change


def swap_items(first: int, second: int) -> Mutation:
    def change(value: Any) -> None:
        items = value["items"]
        a, b = first % len(items), second % len(items)
        items[a], items[b] = items[b], items[a]

    return change


def borrow_item(number: int) -> Mutation:
    """An item of the other receipt, itself good."""

    def change(value: Any) -> None:
        place = number % len(value["items"])
        value["items"][place] = copy.deepcopy(VALUES[1]["items"][place])

    return change


def borrow_signature(number: int) -> Mutation:
    def change(value: Any) -> None:
        place = number % len(value["items"])
        theirs = VALUES[1]["items"][place]["envelope"]["signatures"]
        value["items"][place]["envelope"]["signatures"] = copy.deepcopy(theirs)

    return change


def drop_item(number: int) -> Mutation:
    return lambda value: value["items"].pop(number % len(value["items"]))


places = st.integers(0, 4000)
mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.just(leave),
    st.builds(on_item, places, st.builds(flip_proof, places)),
    st.builds(on_item, places, st.builds(flip_payload, places)),
    st.builds(on_item, places, st.builds(flip_signature, places)),
    st.builds(swap_items, places, places),
    st.builds(borrow_item, places),
    st.builds(borrow_signature, places),
    st.builds(drop_item, places),
    st.just(lambda value: value.update(agency="other")),
    st.just(lambda value: value.update(size_bytes=value["size_bytes"] + 1)),
    st.just(lambda value: value.update(statement=VALUES[1]["statement"])),
)


def verdict(check: Callable[[], VerifiedReceipt]) -> object:
    try:
        return check()
    except ProtocolError as error:
        return error.code


def own_statements() -> MadeStatements:
    """What the station of both stories signed itself."""
    made = MadeStatements(STATION_SEED)
    for story in STORIES:
        for item in story.receipt().items:
            statement = parse_statement(item.envelope.payload)
            if sign_statement(statement, STATION_SEED) == item.envelope:
                made.add(item.envelope, statement)
    return made


@settings(deadline=None, max_examples=150)
@given(
    changes=st.lists(st.tuples(st.sampled_from([0, 1]), mutations), min_size=1, max_size=5),
    knows_own=st.booleans(),
)
def test_together_as_alone(changes: list[tuple[int, Mutation]], knows_own: bool) -> None:
    parts = ReceiptParts(LOG_KEY, own_statements() if knows_own else None)
    for number, change in [(0, leave), *changes, (0, leave)]:
        value = copy.deepcopy(VALUES[number])
        change(value)
        data = json.dumps(value).encode()
        alone = verdict(lambda data=data: verify_receipt(Receipt.from_bytes(data), LOG_KEY))  # type: ignore[misc]
        together = verdict(lambda value=value: verify_receipt_with(parts.receipt(value), parts))  # type: ignore[misc]
        assert together == alone


def test_a_statement_of_ones_own_is_known_only_to_the_last_byte() -> None:
    made = own_statements()
    found = [made.find(item.envelope) for item in STORIES[0].receipt().items]
    assert {type(statement).__name__ for statement in found if statement} == {"Inventory", "Manifest"}


def test_only_the_last_statements_are_remembered() -> None:
    made = MadeStatements(STATION_SEED, limit=1)
    items = list(STORIES[0].receipt().items)
    for item in items:
        made.add(item.envelope, parse_statement(item.envelope.payload))
    assert [made.find(item.envelope) is not None for item in items] == [False] * (len(items) - 1) + [True]
