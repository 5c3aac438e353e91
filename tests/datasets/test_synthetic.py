from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import datasets
from datasets.base import MultimodalDataset, Role
from datasets.synthetic import SyntheticOptions
from mmdg_common import UsageError

ROLES: tuple[Role, ...] = ("train", "val", "target")
DOMAINS = ("d1", "d2", "d3", "d4")
PROBED = {"modalities": 2, "samples_per_class": 40, "domain_shift": "0"}


def create(**options: Any) -> MultimodalDataset:
    return datasets.create("synthetic", **options)


def stack(
    data: MultimodalDataset, domains: tuple[str, ...], role: Role, modality: str
) -> tuple[Tensor, Tensor]:
    """Return one modality of all samples [N, F], flattened, and their labels [N]."""
    samples = [s for domain in domains for s in data.samples(domain, role)]
    x = torch.stack([data.load(s, [modality], None)[modality] for s in samples])
    return x.flatten(1), torch.tensor([s.label for s in samples])


def ridge(x: Tensor, y: Tensor, weight: float = 10.0) -> Any:
    """Fit a linear probe and return its accuracy as a function of (x, y)."""
    mean = x.mean(0)
    z, targets = x - mean, nn.functional.one_hot(y).float()
    gram = z.T @ z + weight * torch.eye(z.shape[1])
    solution = torch.linalg.solve(gram, z.T @ (targets - targets.mean(0)))

    def accuracy(x: Tensor, y: Tensor) -> float:
        scores = (x - mean) @ solution + targets.mean(0)
        return float((scores.argmax(1) == y).float().mean())

    return accuracy


def linear_accuracy(data: MultimodalDataset, modality: str) -> float:
    """Train on d1..d3 and test on their validation part: no shift between the two."""
    probe = ridge(*stack(data, DOMAINS[:3], "train", modality))
    return float(probe(*stack(data, DOMAINS[:3], "val", modality)))


def neighbour_accuracy(data: MultimodalDataset, modality: str, k: int = 5) -> float:
    x, y = stack(data, DOMAINS[:3], "train", modality)
    z, labels = stack(data, DOMAINS[:3], "val", modality)
    nearest = torch.cdist(z, x).topk(k, largest=False).indices
    return float((y[nearest].mode(1).values == labels).float().mean())


def same(
    a: MultimodalDataset, b: MultimodalDataset, modalities: tuple[str, ...], roles: Any = ROLES
) -> bool:
    """Whether every sample of `a` has the same tensors in `b`."""
    return all(
        torch.equal(a.load(s, [m], None)[m], b.load(s, [m], None)[m])
        for domain in a.card.domains
        for role in roles
        for s in a.samples(domain, role)
        for m in modalities
    )


# Roles


@pytest.mark.parametrize(("n", "validating"), [(3, 1), (5, 1), (8, 2), (20, 4), (33, 7)])
def test_a_rounded_fifth_of_each_class_and_domain_validates(n: int, validating: int) -> None:
    data = create(samples_per_class=n, classes=3, domains=2)
    for domain in data.card.domains:
        counts = {r: Counter(s.label for s in data.samples(domain, r)) for r in ROLES}
        assert counts["val"] == dict.fromkeys(range(3), validating)
        assert counts["train"] == dict.fromkeys(range(3), n - validating)
        assert counts["target"] == dict.fromkeys(range(3), n)


def test_roles_are_disjoint_and_the_target_is_the_whole_domain() -> None:
    data = create()
    every = [s for d in data.card.domains for r in ROLES for s in data.samples(d, r)]
    assert len({s.id for s in every}) == len(every)
    for domain in data.card.domains:
        recordings = {
            r: [s.id.replace(f"/{r}/", "/") for s in data.samples(domain, r)] for r in ROLES
        }
        assert sorted(recordings["train"] + recordings["val"]) == sorted(recordings["target"])
        assert all(s.domain == domain for r in ROLES for s in data.samples(domain, r))


def test_validation_is_drawn_for_each_class_and_domain() -> None:
    data = create()
    drawn: dict[str, set[str]] = {}
    for domain in data.card.domains:
        for s in data.samples(domain, "val"):
            *group, index = s.id.split("/")
            drawn.setdefault("/".join(group), set()).add(index)
    assert len({frozenset(indices) for indices in drawn.values()}) > len(drawn) / 2


def test_unknown_names_are_refused() -> None:
    data = create()
    with pytest.raises(UsageError, match="unknown domain 'd5'"):
        data.samples("d5", "train")
    with pytest.raises(UsageError, match="unknown modality 'm4'"):
        data.load(data.samples("d1", "train")[0], ["m4"], None)


# Tensors


def test_card_and_tensors_agree() -> None:
    data = create(modalities=4, classes=3, domains=2)
    assert [m.name for m in data.card.modalities] == ["m1", "m2", "m3", "m4"]
    assert [m.encoder for m in data.card.modalities] == ["mlp", "signal_cnn"] * 2
    assert data.card.domains == ("d1", "d2")
    assert data.card.classes == ("c0", "c1", "c2")
    loaded = data.load(data.samples("d2", "val")[0], ["m1", "m2", "m3", "m4"], None)
    for spec in data.card.modalities:
        assert loaded[spec.name].shape == spec.shape
        assert loaded[spec.name].dtype == torch.float32


def test_instances_agree_and_load_ignores_its_seed() -> None:
    a, b = create(), create()
    assert same(a, b, ("m1", "m2", "m3"))
    assert all(a.samples(d, r) == b.samples(d, r) for d in DOMAINS for r in ROLES)
    sample = a.samples("d1", "train")[0]
    assert torch.equal(a.load(sample, ["m2"], 1)["m2"], b.load(sample, ["m2"], None)["m2"])


def test_a_subset_of_modalities_has_the_same_tensors() -> None:
    sample = create().samples("d3", "target")[7]
    everything = create().load(sample, ["m1", "m2", "m3"], None)
    subset = create().load(sample, ["m3", "m2"], None)
    assert list(subset) == ["m3", "m2"]
    assert all(torch.equal(subset[name], everything[name]) for name in subset)


def test_more_modalities_and_domains_leave_the_existing_samples_alone() -> None:
    small = create(domains=2, modalities=2, spurious_modality=1, spurious_strength=2)
    large = create(domains=5, modalities=3, spurious_modality=1, spurious_strength=2)
    assert same(small, large, ("m1", "m2"))
    assert all(small.samples(d, r) == large.samples(d, r) for d in ("d1", "d2") for r in ROLES)


def test_work_in_place_does_not_change_the_data() -> None:
    data = create()
    sample = data.samples("d1", "train")[0]
    before = data.load(sample, ["m1"], None)["m1"].clone()
    data.load(sample, ["m1"], None)["m1"].zero_()
    assert torch.equal(data.load(sample, ["m1"], None)["m1"], before)


def test_load_only_looks_up_what_was_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    data = create()
    data.prepare(["m1", "m2"])
    monkeypatch.setattr(np.random, "default_rng", None)
    data.load(data.samples("d4", "target")[-1], ["m1", "m2"], None)


@pytest.mark.parametrize("modality", ["m1", "m2", "m3"])
def test_every_recording_is_independent(modality: str) -> None:
    # Without signal and style only noise is left; a shared stream would correlate two recordings.
    noise = create(snr="0", difficulty="0", domain_shift="0")
    x, _ = stack(noise, DOMAINS, "target", modality)
    assert abs(float(x.mean())) < 0.05
    assert float(x.std()) == pytest.approx(1, abs=0.05)
    correlation = torch.corrcoef(x) - torch.eye(len(x))
    assert float(correlation.abs().max()) < (0.6 if modality == "m2" else 0.95)


def test_modalities_of_one_kind_and_data_seeds_differ() -> None:
    noise = {"snr": "0", "domain_shift": "0"}
    a, b = create(**noise), create(**noise, seed=1)
    m1, m3, other = (
        stack(d, DOMAINS, "target", m)[0] for d, m in ((a, "m1"), (a, "m3"), (b, "m1"))
    )
    assert abs(float((m1 * m3).mean())) < 0.1
    assert abs(float((m1 * other).mean())) < 0.1


# Knobs


@pytest.mark.parametrize("modality", ["m1", "m2"])
def test_snr_sets_what_a_linear_probe_reads(modality: str) -> None:
    accuracies = [
        linear_accuracy(create(**PROBED, snr=snr, difficulty="0"), modality)
        for snr in ("0", "2", "5", "12")
    ]
    assert accuracies[0] < 0.35
    assert all(b > a + 0.05 for a, b in pairwise(accuracies[:3]))
    assert accuracies[3] > 0.97


def test_numbers_belong_to_their_modality_and_the_last_repeats() -> None:
    data = create(modalities=4, snr="0,9", difficulty="0", domain_shift="0")
    accuracies = [linear_accuracy(data, f"m{i}") for i in range(1, 5)]
    assert accuracies[0] < 0.4
    assert min(accuracies[1:]) > 0.85


@pytest.mark.parametrize("modality", ["m1", "m2"])
def test_difficulty_hides_the_class_from_linear_probes_only(modality: str) -> None:
    snr = {"m1": "6", "m2": "14"}[modality]
    easy, middle, hard = (
        create(**PROBED, snr=snr, difficulty=value) for value in ("0", "0.5", "1")
    )
    linear = [linear_accuracy(data, modality) for data in (easy, middle, hard)]
    assert linear[0] > 0.95
    assert 0.5 < linear[1] < 0.9
    assert linear[2] < 0.35
    assert min(neighbour_accuracy(data, modality) for data in (easy, middle, hard)) > 0.95


@pytest.mark.parametrize("modality", ["m1", "m2"])
def test_domain_shift_opens_a_gap(modality: str) -> None:
    gaps = []
    for shift in ("0", "0.8", "3"):
        data = create(**(PROBED | {"domain_shift": shift}), snr="5", difficulty="0")
        for target in DOMAINS:
            sources = tuple(domain for domain in DOMAINS if domain != target)
            probe = ridge(*stack(data, sources, "train", modality))
            val = probe(*stack(data, sources, "val", modality))
            gaps.append(val - probe(*stack(data, (target,), "target", modality)))
    none, some, large = (float(np.mean(gaps[i : i + 4])) for i in (0, 4, 8))
    assert abs(none) < 0.03
    assert none + 0.05 < some < large - 0.2


def test_domain_shift_is_set_for_each_modality() -> None:
    data, still = create(domain_shift="0,1,0"), create(domain_shift="0")
    assert same(data, still, ("m1", "m3"))
    assert not same(data, still, ("m2",))


@pytest.mark.parametrize("modality", ["m1", "m2"])
def test_domains_have_offsets_of_their_own(modality: str) -> None:
    data = create(snr="0", domain_shift="1", samples_per_class=40)
    means = torch.stack([stack(data, (d,), "target", modality)[0].mean(0) for d in DOMAINS])
    assert float(torch.pdist(means).min()) > 2


def test_sequences_are_shifted_over_time_too() -> None:
    options = {"snr": "0", "difficulty": "0", "samples_per_class": 40}
    x, _ = stack(create(**options, domain_shift="1"), ("d1",), "target", "m2")
    spread = x.view(-1, 4, 24).std((0, 1))
    assert float(spread.max() / spread.min()) > 3


# Spurious cue


@pytest.mark.parametrize("number", [1, 2])
def test_a_spurious_cue_misleads_on_the_target_only(number: int) -> None:
    modality = f"m{number}"
    options = PROBED | {"snr": "1", "difficulty": "0", "spurious_modality": number}
    gaps = []
    for strength in (0.0, {"m1": 8.0, "m2": 14.0}[modality]):
        data = create(**options, spurious_strength=strength)
        probe = ridge(*stack(data, DOMAINS[:3], "train", modality))
        val = probe(*stack(data, DOMAINS[:3], "val", modality))
        gaps.append(val - probe(*stack(data, ("d4",), "target", modality)))
        # The break is the role's doing, not the domain's: sources break as targets, too.
        gaps.append(val - probe(*stack(data, DOMAINS[:3], "target", modality)))
    assert val > 0.95
    assert max(gaps[:2]) < 0.15
    assert min(gaps[2:]) > 0.6


def test_the_cue_is_all_that_separates_the_target_from_its_recordings() -> None:
    plain = create(spurious_modality=1)
    cued = create(spurious_modality=1, spurious_strength=3)
    assert same(plain, cued, ("m2", "m3"))
    cues = {
        role: stack(cued, DOMAINS, role, "m1")[0] - stack(plain, DOMAINS, role, "m1")[0]
        for role in ROLES
    }
    for cue in cues.values():
        assert torch.allclose(cue.norm(dim=1), torch.tensor(3.0), atol=1e-3)

    # One pattern per class, the same in all source domains.
    _, labels = stack(plain, DOMAINS, "train", "m1")
    patterns = torch.stack([cues["train"][labels == c].mean(0) for c in range(5)])
    assert torch.allclose(cues["train"], patterns[labels], atol=1e-4)

    # In the target, a class's pattern drawn without regard to the label.
    _, labels = stack(plain, DOMAINS, "target", "m1")
    distance, drawn = torch.cdist(cues["target"], patterns).min(1)
    assert float(distance.max()) < 1e-2
    table = torch.bincount(labels * 5 + drawn, minlength=25).view(5, 5)  # 16 expected in each cell
    assert int(table.min()) >= 5
    assert int(table.max()) <= 30
    assert float((drawn == labels).float().mean()) == pytest.approx(0.2, abs=0.08)


def test_the_cue_tells_nothing_of_the_signal() -> None:
    options = {"modalities": 1, "snr": "50", "domain_shift": "0", "spurious_modality": 1}
    plain, cued = create(**options), create(**options, spurious_strength=50)
    signal, _ = stack(plain, DOMAINS, "train", "m1")
    cue = stack(cued, DOMAINS, "train", "m1")[0] - signal
    assert float(torch.cosine_similarity(cue, signal).abs().max()) < 0.9


def test_without_a_cue_the_target_repeats_train_and_val() -> None:
    data = create()
    for role in ("train", "val"):
        for s in data.samples("d2", role):
            target = replace(s, id=s.id.replace(f"/{role}/", "/target/"))
            assert target in data.samples("d2", "target")
            for m in ("m1", "m2", "m3"):
                assert torch.equal(data.load(s, [m], None)[m], data.load(target, [m], None)[m])


# Defaults


def _train(data: MultimodalDataset, modality: str, epochs: int) -> list[float]:
    """Return the source-validation accuracies of a small network after each epoch."""
    torch.manual_seed(0)
    x, y = stack(data, DOMAINS[:3], "train", modality)
    val, labels = stack(data, DOMAINS[:3], "val", modality)
    shape = next(m.shape for m in data.card.modalities if m.name == modality)
    layers: list[nn.Module]
    if len(shape) == 1:
        layers = [nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()]
    else:
        layers = [nn.Unflatten(1, shape), nn.Conv1d(shape[0], 16, 5), nn.BatchNorm1d(16), nn.ReLU()]
        layers += [nn.MaxPool1d(2), nn.Conv1d(16, 32, 5), nn.BatchNorm1d(32), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(32, 5))
    recipe = data.card.recipe
    optimizer = torch.optim.Adam(net.parameters(), recipe.lr)
    accuracies = []
    for _ in range(epochs):
        net.train()
        for batch in torch.split(torch.randperm(len(y)), recipe.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(net(x[batch]), y[batch]))
            optimizer.step()
        net.eval()
        with torch.no_grad():
            accuracies.append(float((net(val).argmax(1) == labels).float().mean()))
    return accuracies


def test_by_default_an_easy_modality_leads_and_an_informative_one_overtakes() -> None:
    data = create()
    easy, informative, weak = (_train(data, m, data.card.recipe.epochs) for m in ("m1", "m2", "m3"))
    assert np.mean(easy[1:4]) > np.mean(informative[1:4]) + 0.05
    assert np.mean(informative[-3:]) > np.mean(easy[-3:]) + 0.05
    assert np.mean(easy[-3:]) > np.mean(weak[-3:]) + 0.05
    assert np.mean(weak[-3:]) > 0.3


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": 0}, "modalities: 0 .*type 1 or more"),
        ({"classes": 1}, "classes: 1 .*type 2 or more"),
        ({"domains": 1}, "domains: 1 .*type 2 or more"),
        ({"samples_per_class": 2}, "samples_per_class: 2 .*type 3 or more"),
        ({"seed": -1}, "seed: -1 .*type 0 or more"),
        ({"snr": "1,-2"}, "snr: '1,-2' .*type numbers of 0 or more"),
        ({"snr": "loud"}, "snr: 'loud' .*one per modality"),
        ({"snr": ""}, "snr: '' "),
        ({"snr": "nan"}, "snr: 'nan' "),
        ({"snr": "inf"}, "snr: 'inf' "),
        ({"difficulty": "0.5,1.1"}, "difficulty: '0.5,1.1' .*from 0 to 1"),
        ({"difficulty": "-0.1"}, "difficulty: '-0.1' "),
        ({"domain_shift": "-1"}, "domain_shift: '-1' .*type numbers of 0 or more"),
        ({"spurious_modality": 4, "spurious_strength": 1}, "spurious_modality: 4 .*1 to 3"),
        ({"spurious_modality": -1}, "spurious_modality: -1 "),
        ({"spurious_modality": 1, "spurious_strength": -1}, "spurious_strength: -1.0 "),
        ({"spurious_modality": 1, "spurious_strength": "nan"}, "spurious_strength: nan "),
        ({"spurious_strength": 2}, "spurious_strength: 2.0 .*spurious_modality"),
        ({"snrs": "1"}, "Did you mean 'snr'"),
        ({"classes": "five"}, "classes: 'five' is not of type int"),
    ],
)
def test_impossible_options_say_what_to_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create(**options)


def test_smallest_and_text_options_work() -> None:
    data = create(modalities="1", classes="2", domains="2", samples_per_class="3", snr="1")
    assert [len(data.samples("d2", role)) for role in ROLES] == [4, 2, 6]
    assert set(data.load(data.samples("d2", "val")[0], ["m1"], None)) == {"m1"}


def test_fingerprints_are_equal_across_instances_and_change_with_every_option() -> None:
    other = {
        "modalities": 2,
        "classes": 4,
        "domains": 3,
        "samples_per_class": 10,
        "snr": "2",
        "difficulty": "0.5",
        "domain_shift": "1",
        "spurious_modality": 1,
        "seed": 1,
    }
    variants = [{name: value} for name, value in other.items()]
    variants += [{}, {"spurious_modality": 1, "spurious_strength": 2}]
    assert {f.name for f in fields(SyntheticOptions)} == set(other) | {"spurious_strength"}
    prints = [create(**options).fingerprint(["m1"]) for options in variants]
    assert len(set(prints)) == len(variants)
    assert prints == [create(**options).fingerprint(["m1"]) for options in variants]
