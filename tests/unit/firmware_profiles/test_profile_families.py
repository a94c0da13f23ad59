"""Do the shipped families read what recorders show, as it was written down beside them?"""

from __future__ import annotations

from importlib.resources.abc import Traversable
from zoneinfo import ZoneInfo

import pytest

from firmware_profiles.load import listings_of, load_listing, load_registry, profile_homes
from firmware_profiles.trial import try_listing

SHANGHAI = ZoneInfo("Asia/Shanghai")
REGISTRY = load_registry()
PROFILES = {profile.id: profile for profile in REGISTRY.profiles}
LISTED = [(home.name, file) for home in profile_homes() for file in listings_of(home)]


def shown(case: object) -> str:
    return case if isinstance(case, str) else getattr(case, "name", "")


@pytest.mark.parametrize(("family", "file"), LISTED, ids=shown)
def test_a_listing_is_read_as_it_was_written_down(family: str, file: Traversable) -> None:
    listing = load_listing(file)
    assert listing.expected is not None
    assert all(listed.expected is not None for listed in listing.files)
    assert try_listing(REGISTRY, PROFILES[family], listing, SHANGHAI).surprises == ()


def test_every_family_but_the_invented_examples_has_a_listing() -> None:
    families = {name for name in PROFILES if not name.startswith("example_")}
    assert {family for family, _ in LISTED} == families


def test_a_listing_that_is_not_from_hardware_says_so() -> None:
    for _, file in LISTED:
        listing = load_listing(file)
        if listing.source == "public descriptions":
            assert "not from hardware" in listing.about


def test_no_family_claims_more_than_was_tried() -> None:
    """Whoever tries one on a real recorder enters it in ``verified_on``, and here."""
    assert [profile.id for profile in REGISTRY.profiles if profile.verified_on] == []
