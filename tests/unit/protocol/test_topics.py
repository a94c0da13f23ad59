"""Are topics built and taken apart without loss, and hostile ones refused?"""

from __future__ import annotations

import pytest

from protocol.errors import MalformedError
from protocol.topics import Channel, Topic, collector_filters, station_filters


@pytest.mark.parametrize("channel", list(Channel))
def test_a_topic_survives_its_text(channel: Channel) -> None:
    topic = Topic(agency="jing-an", station="dock-1", channel=channel)
    assert str(topic) == f"zhilu/v1/jing-an/dock-1/{channel.value}"
    assert Topic.parse(str(topic)) == topic


def test_the_longest_names_fit() -> None:
    topic = Topic(agency="a" * 63, station="b" * 63, channel=Channel.STATEMENTS)
    assert Topic.parse(str(topic)) == topic


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zhilu/v1",
        "zhilu/v1/a/b",
        "zhilu/v1/a/b/statements/",
        "/zhilu/v1/a/b/statements",
        "zhilu/v2/a/b/statements",
        "zhilu/v1/+/b/statements",
        "zhilu/v1/a/#",
        "zhilu/v1/a/_collector/statements",
        "zhilu/v1/A/b/statements",
        "zhilu/v1/a/b/Statements",
        "zhilu/v1/a/b/unknown",
        "zhilu/v1//b/statements",
        "zhilu/v1/a/b\x00/statements",
        "zhilu/v1/a/\ud800/statements",
        "zhilu/v1/" + "a" * 500 + "/b/statements",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        Topic.parse(text)


def test_each_side_subscribes_to_what_the_other_writes() -> None:
    assert station_filters("dock-1") == (
        "zhilu/v1/+/dock-1/admissions",
        "zhilu/v1/+/dock-1/receipts",
        "zhilu/v1/+/dock-1/commands",
    )
    assert collector_filters() == ("zhilu/v1/+/+/status", "zhilu/v1/+/+/statements", "zhilu/v1/+/+/replies")


def test_a_station_name_cannot_widen_the_filter() -> None:
    with pytest.raises(MalformedError):
        station_filters("+")
