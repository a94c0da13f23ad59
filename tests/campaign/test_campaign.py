"""Does anything get lost, whatever happens, in hundreds of whole visits? And would the campaign notice?"""

from __future__ import annotations

from tests.campaign.campaign import Campaign

RUNS = 40
FIRST_SEED = 20_000


def test_whatever_happens_nothing_is_lost_altered_or_unexplained() -> None:
    report = Campaign(first_seed=FIRST_SEED, runs=RUNS, jobs=2).run()
    assert report.is_clean, "\n".join(report.lines())


def test_a_seed_repeats_its_run_exactly() -> None:
    first, second = (
        Campaign(first_seed=3, runs=2, jobs=1).run().to_json()["durable_steps"] for _ in range(2)
    )
    assert first == second
