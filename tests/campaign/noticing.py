"""Would the campaign notice? Each protection taken away until a run is violated, and that run again with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.campaign.campaign import working
from tests.campaign.mutations import MUTATIONS
from tests.campaign.single import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """``seed`` is the first that noticed, after ``runs`` runs; None if none did. ``control`` is what the same run has
    to complain of with the protection in place: nothing, if all is well."""

    mutation: str
    seed: int | None
    runs: int
    verdicts: Sequence[str]
    control: Sequence[str]

    @property
    def is_well(self) -> bool:
        return self.seed is not None and not self.control


def notice(bench: Bench, name: str) -> Noticed:
    """Runs with the mutation, beginning with its seed, until one is violated."""
    mutation = MUTATIONS[name]
    for number, seed in enumerate(range(mutation.seed, mutation.seed + mutation.runs), 1):
        found = bench.run(seed, mutation=name).violations
        if found:
            control = bench.run(seed, mutation=name, is_control=True).violations
            verdicts = [str(violation) for violation in found]
            return Noticed(
                mutation=name,
                seed=seed,
                runs=number,
                verdicts=verdicts,
                control=[str(violation) for violation in control],
            )
    return Noticed(mutation=name, seed=None, runs=mutation.runs, verdicts=(), control=())


def notice_all(names: Iterable[str] = MUTATIONS, *, jobs: int = 2) -> Iterator[Noticed]:
    """Each as soon as it is known."""
    wanted = list(names)
    with working([{"mutations": wanted[number::jobs]} for number in range(jobs)]) as results:
        for result in results:
            yield Noticed(**result)


def table(noticed: Iterable[Noticed]) -> Iterator[str]:
    """As it stands in docs/reliability.md, in the order of the code."""
    found = {one.mutation: one for one in noticed}
    yield "| protection | what is disabled | where | first seed that notices | runs | verdict |"
    yield "|---|---|---|---|---|---|"
    yield from (_row(name, found[name]) for name in MUTATIONS if name in found)


def _row(name: str, one: Noticed) -> str:
    mutation = MUTATIONS[name]
    seed = "none" if one.seed is None else str(one.seed)
    kinds = ", ".join(dict.fromkeys(verdict.partition(":")[0] for verdict in one.verdicts))
    return (
        f"| {mutation.protection} | `{name}`: {mutation.disabled} | `{mutation.where}` | {seed} | {one.runs}"
        f" | {kinds or 'not noticed'} |"
    )
