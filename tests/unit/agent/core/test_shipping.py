"""What travels together?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.core.shipping import BUNDLE_BYTES, may_be_bundled, plan_groups
from agent.spool.records import Delivery, Purpose
from protocol.bundle import MAX_MEMBER_BYTES, MAX_MEMBERS, BundleLayout, Member
from protocol.digest import Digest
from protocol.upload import Purpose as UploadPurpose


def delivery(
    number: int,
    *,
    size: int = 200_000,
    content: int | None = None,
    agency: str = "hz",
    upload_url: str | None = None,
    alone: bool = False,
) -> Delivery:
    return Delivery(
        statement=Digest.of(b"%d" % number),
        purpose=Purpose.ORIGINAL,
        agency=agency,
        digest=Digest.of(b"content %d" % (number if content is None else content)),
        size_bytes=size,
        path=Path("/spool"),
        upload_url=upload_url,
        uploaded=False,
        admitted=True,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        priority=20,
        alone=alone,
    )


deliveries = st.builds(
    delivery,
    st.integers(0, 10_000),
    size=st.sampled_from([0, 1, 512, 200_000, MAX_MEMBER_BYTES, MAX_MEMBER_BYTES + 1]),
    agency=st.sampled_from(["hz", "nb"]),
    upload_url=st.sampled_from([None, None, None, "/api/v1/uploads/1"]),
    alone=st.sampled_from([False, False, False, True]),
)


@given(st.lists(deliveries, max_size=60, unique_by=lambda row: row.statement))
def test_every_delivery_travels_once_and_every_group_is_a_bundle(rows: list[Delivery]) -> None:
    groups = plan_groups(rows)
    assert sorted(row.statement for group in groups for row in group) == sorted(row.statement for row in rows)
    firsts = [rows.index(group[0]) for group in groups]
    assert firsts == sorted(firsts), "a group stands where its most urgent member stood"
    for group in groups:
        assert [rows.index(row) for row in group] == sorted(rows.index(row) for row in group)
        if len(group) > 1:
            assert all(map(may_be_bundled, group))
            assert len({row.agency for row in group}) == 1
            members = {row.digest: row.size_bytes for row in group}
            layout = BundleLayout(
                [
                    Member(purpose=UploadPurpose.ORIGINAL, digest=digest, size_bytes=size)
                    for digest, size in members.items()
                ]
            )
            assert layout.size_bytes <= BUNDLE_BYTES


def test_the_same_bytes_promised_twice_travel_once() -> None:
    rows = [delivery(number, content=7) for number in range(3 * MAX_MEMBERS)]
    assert len(plan_groups(rows)) == 1


def test_a_group_ends_with_the_members_a_bundle_may_have() -> None:
    groups = plan_groups(delivery(number, size=10) for number in range(MAX_MEMBERS + 1))
    assert [len(group) for group in groups] == [MAX_MEMBERS, 1]
