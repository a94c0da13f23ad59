"""Does anything get lost, whatever happens, in hundreds of whole visits? And would the campaign notice?"""

from __future__ import annotations

from tests.campaign.campaign import Campaign
from tests.campaign.mutations import MUTATIONS
from tests.campaign.noticing import notice_all

RUNS = 500
FIRST_SEED = 20_000


def test_whatever_happens_nothing_is_lost_altered_or_unexplained() -> None:
    report = Campaign(first_seed=FIRST_SEED, runs=RUNS, jobs=2).run()
    assert report.is_whole
    assert report.is_clean, "\n".join(report.lines())
    missed = [kind for kind, count in report.planned.items() if not report.struck[kind]]
    assert not missed, f"planned and never struck: {missed}"


def test_a_seed_repeats_its_run_exactly() -> None:
    """In another process, and after other runs."""
    reports = [Campaign(first_seed=first, runs=4 - first, jobs=1).run() for first in (2, 3)]
    assert reports[0].places > reports[1].places
    again = Campaign(first_seed=2, runs=1, jobs=1).run()
    assert reports[0].places - again.places == reports[1].places


def test_the_campaign_notices_when_a_protection_is_gone() -> None:
    """And only then: the same run with the protection in place is clean."""
    noticed = {one.mutation: one for one in notice_all(jobs=2)}
    assert noticed.keys() == MUTATIONS.keys()
    assert not [name for name, one in noticed.items() if one.seed is None], "nobody noticed"
    assert not {name: one.control for name, one in noticed.items() if one.control}
