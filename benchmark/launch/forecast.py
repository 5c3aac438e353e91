"""What runs that are left to do will take, in words, and which of them a budget allows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmark.launch.costs import Costs, Estimate
from benchmark.launch.device import Device
from benchmark.launch.status import duration
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError


@dataclass(frozen=True)
class Forecast:
    """What some runs will take on a device."""

    device: Device
    estimates: Mapping[str, Estimate | None]
    """By run id; None where no record says anything."""

    @property
    def known(self) -> list[Estimate]:
        """Return the estimates that there are."""
        return [one for one in self.estimates.values() if one is not None]

    @property
    def seconds(self) -> dict[str, float | None]:
        """Return the seconds by run id; None where they are not known."""
        return {run: one.seconds if one else None for run, one in self.estimates.items()}

    @property
    def bases(self) -> str:
        """Return in words how many estimates follow from which records."""
        counts = Counter(one.basis for one in self.known)
        return ", ".join(f"{number} by {basis}" for basis, number in counts.items())

    def told(self) -> Iterator[str]:
        """Yield in lines to print what the runs take, and how that is known."""
        total, gpus = sum(one.seconds for one in self.known), self.device.gpus
        if self.known:
            on_gpus = f", {amount(total, gpus)}," if gpus else ""
            yield (
                f"{len(self.known)} runs to do take about {duration(total)} in all{on_gpus} on "
                f"{self.device}: {self.bases}"
            )
        if lacking := len(self.estimates) - len(self.known):
            yield (
                f"{lacking} runs to do have no earlier record on {self.device} to estimate their "
                "time from"
            )


def forecast(specs: Iterable[RunSpec], costs: Costs) -> Forecast:
    """Return what some runs will take."""
    return Forecast(costs.device, {spec.id: costs.of(spec) for spec in specs})


def within(specs: Sequence[RunSpec], budget: float, costs: Costs) -> list[RunSpec]:
    """Return the first runs, as many as a budget allows, and say what the others would take.

    Args:
        specs: the runs in their order.
        budget: in seconds of a run, or where jobs have GPUs in seconds of a GPU.
        costs: estimate them.

    Raises:
        UsageError: a run has no estimate.
    """
    found = forecast(specs, costs)
    for spec in specs:
        if found.estimates[spec.id] is None:
            target = f" target={spec.target}" if spec.target else ""
            raise UsageError(
                f"--budget: {len(specs) - len(found.known)} of {len(specs)} runs have no earlier "
                f"record on {costs.device} to estimate their time from; train one of each first: "
                f"the same command with --only seed={spec.seed}{target} in place of --budget"
            )
    gpus = costs.device.gpus
    number, spent = 0, 0.0
    for one in found.known:
        if (spent + one.seconds) * max(1, gpus) > budget:
            break
        number, spent = number + 1, spent + one.seconds
    later = amount(sum(one.seconds for one in found.known[number:]), gpus)
    print(
        f"--budget: {number} of {len(specs)} runs now, about {amount(spent, gpus)} in all"
        + (f"; {len(specs) - number} left out, about {later}" if number < len(specs) else "")
    )
    return list(specs[:number])


def amount(seconds: float, gpus: int) -> str:
    """Return what runs take, in GPU-hours where each has GPUs."""
    return f"{seconds * gpus / 3600:.1f} GPU-hours" if gpus else duration(seconds)
