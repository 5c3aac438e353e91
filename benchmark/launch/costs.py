"""What runs will cost, by what earlier ones took.

The work of a run is counted in forward passes of one modality of one sample: a training step makes
as many as its method's passes say, a backward pass counting twice, and every validation makes one
of each sample of the validation part and the target. What earlier runs took per unit of work, on
such a device, says what a planned one will take, however long it trains and whatever its split.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from statistics import fmean
from typing import Any

from benchmark.launch.device import Device
from benchmark.launch.profile import USUAL_TIME
from benchmark.records import committed
from benchmark.records.result import taken_from
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.settings import RunSettings

ENOUGH = 40
"""Records of a method and set of modalities that are read; more would hardly change the mean."""
MOST = 1000
"""Records that are read for one estimate."""
CHOSEN = 2
"""Validations that selection rules choose, usually; at each of them every modality is measured."""
LEAST_LIMIT, SLACK, MORE = 15 * 60, 1.5, 10 * 60
"""Of a job's time limit: the seconds that it has at least, the factor on the estimate, and the
seconds on top, which a process takes to start."""

Done = Callable[..., Iterable[tuple[RunSpec, Mapping[str, Any]]]]
"""Yields done runs with their results, of a dataset, a method and a set of modalities."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    seconds: float
    basis: str
    """The records that it follows from, in words, such as `earlier runs alike`."""


@dataclass(frozen=True)
class _Earlier:
    """A run that was trained on such a device."""

    spec: RunSpec
    seconds: float
    per_sample: float
    """Forward passes of a training sample."""


@dataclass(frozen=True)
class _Rate:
    """Seconds per unit of work."""

    seconds: float
    per_sample: float
    basis: str


class Costs:
    """Estimates of runs from the records of a results folder, else from committed ones.

    Records count that were trained on such a device with such settings. Those of the same method,
    hyper-parameters and modalities come first, then those with other hyper-parameters, other
    modalities, other methods. Other recipes, seeds and splits are no difference.

    Args:
        settings: how the runs are carried out.
        device: what they compute on.
        passes: by method the value of `per_sample`, where it is known without a record.
    """

    def __init__(
        self,
        settings: RunSettings,
        device: Device,
        passes: Mapping[str, float] | None = None,
    ) -> None:
        self.device = device
        self._settings = settings
        self._read: dict[tuple[Any, ...], list[_Earlier]] = {}
        self._rates: dict[str, _Rate | None] = {}
        self._sizes: dict[tuple[Any, ...], tuple[int, int, int]] = {}
        self._prints: dict[tuple[Any, ...], str] = {}
        self._passes: dict[str, float | None] = dict(passes or {})

    def of(self, spec: RunSpec) -> Estimate | None:
        """Return what a run will take; None where no record says anything about it."""
        key = _kind(spec)
        if key not in self._rates:
            self._rates[key] = self._rate(spec)
        if (rate := self._rates[key]) is None:
            return None
        return Estimate(rate.seconds * self._work(spec, rate.per_sample), rate.basis)

    def seconds(self, spec: RunSpec) -> float | None:
        """Return the seconds of `of`."""
        found = self.of(spec)
        return None if found is None else found.seconds

    def limit(self, spec: RunSpec) -> float:
        """Return the seconds that a job may take for a run, for a profile with `time: auto`."""
        seconds = self.seconds(spec)
        return USUAL_TIME * 60 if seconds is None else max(LEAST_LIMIT, SLACK * seconds + MORE)

    @cached_property
    def _places(self) -> dict[str, Done]:
        """Return what yields the records of each place, by the name that an estimate gives it."""
        store = Store(self._settings.results)
        places: dict[str, Done] = {"earlier runs": partial(store.done, each=ENOUGH)}
        if of := committed.find(self._settings.reuse or committed.HOME):
            places["committed runs"] = of.done
        return places

    def _rate(self, spec: RunSpec) -> _Rate | None:
        for place, done in self._places.items():
            for difference, runs in self._similar(spec, place, done):
                if (per_sample := self._per_sample(spec.method, runs)) is not None:
                    work = sum(self._work(one.spec, one.per_sample) for one in runs)
                    seconds = sum(one.seconds for one in runs) / work
                    return _Rate(seconds, per_sample, f"{place} {difference}")
        return None

    def _similar(
        self, spec: RunSpec, place: str, done: Done
    ) -> Iterator[tuple[str, list[_Earlier]]]:
        """Yield runs that differ more and more from a planned one, and in words in what."""

        def earlier(**what: Any) -> list[_Earlier]:
            what = {"dataset": spec.dataset, "method": spec.method, **what}
            key = (place, *what.items())
            if key not in self._read:
                self._read[key] = list(self._earlier(islice(done(**what), MOST)))
            return [one for one in self._read[key] if self._comparable(one.spec, spec)]

        own = earlier(modalities=spec.modalities)
        alike = [one for one in own if _settings(one.spec) == _settings(spec)]
        for difference, runs in (("alike", alike), ("with other settings", own)):
            if runs:
                yield difference, runs
        if runs := earlier(modalities=None):
            yield "of other modalities", runs
        if runs := earlier(method=None, modalities=spec.modalities):
            yield "of other methods", runs

    def _earlier(self, found: Iterable[tuple[RunSpec, Mapping[str, Any]]]) -> Iterator[_Earlier]:
        """Yield the runs that were trained here, on such a device and in this way."""
        cached, kernels = self._settings.features is not None, self._settings.kernels
        for spec, result in found:
            of = result["provenance"]
            if (
                of.get("wall_s")
                and self.device.made(of)
                and of.get("feature_cache", False) == cached
                and of.get("kernels", kernels) == kernels
                and not taken_from(result)
            ):
                yield _Earlier(spec, of["wall_s"], per_sample(result.get("passes")))

    def _comparable(self, one: RunSpec, spec: RunSpec) -> bool:
        """Return whether two runs on a dataset have the same data, batches and encoders."""
        both = {k for k in one.modalities if k in spec.modalities}
        return (
            one.options == spec.options
            and one.recipe.batch_size == spec.recipe.batch_size
            and one.protocol.precision == spec.protocol.precision
            # Without views a cache keeps no training sample.
            and (self._settings.features is None or _kept(one) == _kept(spec))
            and all(one.encoders[k] == spec.encoders[k] for k in both)
            and one.data == self._data(spec, one.modalities)
        )

    def _data(self, spec: RunSpec, modalities: Sequence[str]) -> str:
        """Return the fingerprint that the data of a planned run has with other modalities."""
        if modalities == spec.modalities:
            return spec.data
        key = (_options(spec), modalities)
        if key not in self._prints:
            dataset = self._settings.open_dataset(spec.dataset, spec.options)
            known = {m.name for m in dataset.card.modalities}.issuperset(modalities)
            self._prints[key] = dataset.fingerprint(modalities) if known else ""
        return self._prints[key]

    def _per_sample(self, method: str, runs: Sequence[_Earlier]) -> float | None:
        """Return `per_sample` of a method, by these runs if they are its own; None: not known."""
        if runs[0].spec.method == method:
            return fmean(one.per_sample for one in runs)
        if method not in self._passes:
            records = (one for done in self._places.values() for one in done(method=method))
            found = (result["passes"] for _, result in records if result.get("passes"))
            first = next(found, None)
            self._passes[method] = None if first is None else per_sample(first)
        return self._passes[method]

    def _work(self, spec: RunSpec, each: float) -> float:
        """Return the forward passes of one modality of one sample that a run makes.

        Args:
            spec: the run.
            each: those of a training sample.
        """
        from benchmark.training.loader import steps_per_epoch  # imports torch

        train, val, target = self._size(spec)
        recipe = spec.recipe
        of_epoch = steps_per_epoch(train, recipe.batch_size)
        steps = recipe.steps or recipe.epochs * of_epoch
        validations = math.ceil(steps / (recipe.validate_every or of_epoch))
        training = steps * min(recipe.batch_size, train) * each
        measuring = min(validations, CHOSEN) * (train + target) if target else 0
        return len(spec.modalities) * (training + validations * (val + target) + measuring)

    def _size(self, spec: RunSpec) -> tuple[int, int, int]:
        """Return how many samples a run trains on, validates on and tests."""
        key = (_options(spec), spec.sources, spec.target)
        if key not in self._sizes:
            dataset = self._settings.open_dataset(spec.dataset, spec.options)
            parts = dataset.parts(spec.sources, spec.target, listed=True)
            self._sizes[key] = (len(parts["train"]), len(parts["val"]), len(parts["target"]))
        return self._sizes[key]


def per_sample(passes: Mapping[str, float] | None) -> float:
    """Return the forward passes of a training sample, a backward pass counting twice.

    Args:
        passes: of a training step, as a result holds them; None where they were not counted: those
            of a plain method.
    """
    return 3.0 if passes is None else passes["forward"] + 2 * passes["backward"]


def _options(spec: RunSpec) -> str:
    return json.dumps([spec.dataset, dict(spec.options)])


def _settings(spec: RunSpec) -> tuple[Any, ...]:
    return spec.hyperparameters, spec.protocol


def _kept(spec: RunSpec) -> bool:
    """Return whether a feature cache keeps training samples, too."""
    return spec.protocol.views > 0


def _kind(spec: RunSpec) -> str:
    """Return what runs share that differ in length, seed and split alone."""
    own = (spec.data, spec.method, spec.modalities, spec.hyperparameters, vars(spec.protocol))
    return _options(spec) + json.dumps([*own, spec.encoders, spec.recipe.batch_size])
