"""Does anything get lost, whatever happens, in hundreds of whole visits? And would the campaign notice?"""

from __future__ import annotations

import pytest

from tests.campaign.campaign import Campaign
from tests.campaign.mutations import MUTATIONS

RUNS = 500
FIRST_SEED = 20_000


def test_whatever_happens_nothing_is_lost_altered_or_unexplained() -> None:
    report = Campaign(first_seed=FIRST_SEED, runs=RUNS, jobs=2).run()
    assert report.is_clean, "\n".join(report.lines())
    missed = [kind for kind, count in report.planned.items() if not report.struck[kind]]
    assert not missed, f"planned and never struck: {missed}"


def test_a_seed_repeats_its_run_exactly() -> None:
    reports = [Campaign(first_seed=3, runs=2, jobs=1).run() for _ in range(2)]
    first, second = (report.to_json()["durable_steps"] for report in reports)
    assert first == second
    assert reports[0].places == reports[1].places


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_campaign_notices_when_a_protection_is_gone(name: str) -> None:
    """And only then: the same run with the protection in place is clean."""
    mutation = MUTATIONS[name]
    report = Campaign(first_seed=mutation.seed, runs=mutation.runs, jobs=2, mutation=name, stop_after=1).run()
    assert report.bad, f"{mutation.protection}: nobody noticed in {report.runs} runs"
    control = Campaign(first_seed=min(report.bad), runs=1, jobs=1, mutation=name, is_control=True).run()
    assert control.is_clean, "\n".join(control.lines())
