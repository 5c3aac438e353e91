import os

import pytest
import torch

import datasets
from benchmark.training.loader import Feed, Inputs, Loader


@pytest.fixture(scope="module")
def dataset():
    return datasets.create("synthetic", domains=3, classes=3, samples_per_class=5)


def loader(dataset, batch_size=8, **kwargs):
    samples = [s for d in ("d1", "d2") for s in dataset.samples(d, "train")]
    return Loader(Feed(dataset, ("m1", "m2"), ("d1", "d2")), samples, batch_size, **kwargs)


def ids(batches):
    return [batch.ids for batch in batches]


def test_the_order_depends_on_seed_and_epoch_alone(dataset):
    first = ids(loader(dataset).training_epoch(3))
    torch.manual_seed(99)
    assert ids(loader(dataset).training_epoch(3)) == first
    assert ids(loader(dataset).training_epoch(4)) != first
    assert ids(loader(dataset, seed=1).training_epoch(3)) != first


def test_iterating_leaves_the_global_random_stream_alone(dataset):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(loader(dataset).training_epoch(0))
    list(loader(dataset).evaluation())
    assert torch.equal(torch.rand(3), expected)


def test_an_epoch_can_be_entered_in_the_middle(dataset):
    whole = ids(loader(dataset).training_epoch(1))
    assert ids(loader(dataset).training_epoch(1, start=2)) == whole[2:]


def test_training_drops_an_incomplete_batch_unless_it_would_be_the_only_one(dataset):
    part = loader(dataset, batch_size=7)
    assert len(part.samples) % 7
    assert part.steps == len(part.samples) // 7
    assert {len(batch) for batch in ids(part.training_epoch(0))} == {7}
    alone = loader(dataset, batch_size=1000)
    assert [len(batch) for batch in ids(alone.training_epoch(0))] == [len(alone.samples)]


def test_an_epoch_serves_no_sample_twice_and_mixes_the_domains(dataset):
    batches = list(loader(dataset, batch_size=12).training_epoch(0))
    served = [i for batch in batches for i in batch.ids]
    assert len(set(served)) == len(served)
    assert set(batches[0].domains.tolist()) == {0, 1}


def test_evaluation_serves_everything_once_in_order(dataset):
    part = loader(dataset, batch_size=7)
    served = [i for batch in part.evaluation() for i in batch.ids]
    assert served == [sample.id for sample in part.samples]


def test_labels_domains_and_tensors_belong_to_the_ids(dataset):
    part = loader(dataset)
    by_id = {sample.id: sample for sample in part.samples}
    batch = next(part.training_epoch(0))
    for i, name in enumerate(batch.ids):
        sample = by_id[name]
        assert batch.labels[i] == sample.label
        assert ("d1", "d2")[batch.domains[i]] == sample.domain
        expected = dataset.load(sample, ("m1", "m2"), None)
        assert all(torch.equal(batch.tensors[k][i], expected[k]) for k in expected)


def test_a_domain_that_is_no_source_has_index_minus_one(dataset):
    feed = Feed(dataset, ("m1",), ("d1", "d2"))
    part = Loader(feed, dataset.samples("d3", "target"), 8)
    assert set(next(part.evaluation()).domains.tolist()) == {-1}


class Noisy:
    """A dataset whose tensors are what their seed draws."""

    def load(self, sample, modalities, seed):
        value = -1 if seed is None else seed % 10007
        return {k: torch.tensor([float(value)]) for k in modalities}


def by_id(ids, view):
    return {i: float(x) for i, x in zip(ids, view["m1"], strict=True)}


def values(batches):
    return {i: x for b in batches for i, x in by_id(b.ids, b.tensors).items()}


def second_values(batches):
    return {i: x for b in batches for (view,) in [b.second] for i, x in by_id(b.ids, view).items()}


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_drawn_per_sample_and_epoch_with_any_number_of_workers(dataset, workers):
    samples = dataset.samples("d1", "train")
    plain = Loader(Feed(Noisy(), ("m1",), ("d1",)), samples, 4)
    part = Loader(Feed(Noisy(), ("m1",), ("d1",), workers=workers), samples, 4)
    first = values(part.training_epoch(0))
    assert first == values(plain.training_epoch(0))
    assert len(set(first.values())) == len(first)
    assert not set(first.values()) & set(values(part.training_epoch(1)).values())
    assert set(values(part.evaluation()).values()) == {-1.0}


# Two views


def noisy(dataset, **kwargs):
    workers = kwargs.pop("workers", 0)
    feed = Feed(Noisy(), ("m1",), ("d1",), workers)
    return Loader(feed, dataset.samples("d1", "train"), 4, **kwargs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_view_is_other_augmentation_and_the_first_is_what_it_is_alone(dataset, workers):
    alone, both = noisy(dataset), noisy(dataset, two_views=True, workers=workers)
    plain, batches = list(alone.training_epoch(2)), list(both.training_epoch(2))
    assert [b.ids for b in batches] == [b.ids for b in plain]
    assert values(batches) == values(plain)
    first, second = values(batches), second_values(batches)
    assert first.keys() == second.keys()
    assert all(first[i] != second[i] for i in first)
    assert len(set(second.values())) == len(second)
    again = list(noisy(dataset, two_views=True).training_epoch(2))
    assert second_values(again) == second
    assert not set(second_values(both.training_epoch(3)).values()) & set(second.values())


def test_a_second_view_is_drawn_from_the_seed_of_the_run(dataset):
    seconds = [
        second_values(noisy(dataset, two_views=True, seed=seed).training_epoch(0))
        for seed in (0, 1)
    ]
    assert not set(seconds[0].values()) & set(seconds[1].values())


def test_both_views_of_a_dataset_without_augmentation_are_equal(dataset):
    batch = next(loader(dataset, two_views=True).training_epoch(0))
    (second,) = batch.second
    assert list(second) == ["m1", "m2"]
    assert all(torch.equal(second[k], batch.tensors[k]) for k in second)


def test_there_is_no_second_view_in_evaluation_or_where_none_is_asked_for(dataset):
    part = noisy(dataset, two_views=True)
    assert {batch.second for batch in part.evaluation()} == {()}
    assert set(values(part.evaluation()).values()) == {-1.0}
    assert next(noisy(dataset).training_epoch(0)).second == ()


def test_a_batch_moves_with_both_views():
    view = {"m1": torch.ones(2, 3)}
    inputs = Inputs(view, torch.zeros(2), torch.zeros(2), ("a", "b"), (view,))
    assert inputs.to(torch.device("cpu")) is inputs
    moved = inputs.to(torch.device("meta"))
    assert moved.tensors["m1"].is_meta
    assert moved.labels.is_meta
    assert [{k: x.shape for k, x in second.items()} for second in moved.second] == [{"m1": (2, 3)}]
    assert moved.second[0]["m1"].is_meta
    assert moved.ids == ("a", "b")


# Loading processes


class Where:
    """A dataset whose tensors say which process loaded them."""

    def load(self, sample, modalities, seed):
        return {k: torch.tensor([float(os.getpid())]) for k in modalities}


@pytest.fixture
def feed():
    feed = Feed(Where(), ("m1",), ("d1", "d2"), workers=2)
    yield feed
    feed.close()


def processes(batches):
    return {int(x) for b in batches for x in b.tensors["m1"].flatten()}


def test_parts_and_epochs_share_loading_processes_that_end_with_the_feed(dataset, feed):
    parts = [Loader(feed, dataset.samples(d, "train"), 2) for d in ("d1", "d2")]
    first = processes(parts[0].training_epoch(0))
    assert len(first) == 2
    assert os.getpid() not in first
    assert processes(parts[0].training_epoch(1)) == first
    assert processes(parts[1].evaluation(2)) == first
    feed.close()
    assert not [pid for pid in first if alive(pid)]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_part_can_be_served_while_another_is_and_when_one_was_given_up(dataset, feed):
    one, two = (Loader(feed, dataset.samples(d, "train"), 2) for d in ("d1", "d2"))
    alone = Loader(Feed(Where(), ("m1",), ("d1", "d2")), one.samples, 2)
    epoch = one.training_epoch(0)
    begun = [next(epoch)]
    assert ids(two.evaluation()) == ids(two.evaluation())
    assert ids([*begun, *epoch]) == ids(alone.training_epoch(0))
    given_up = one.training_epoch(1)
    next(given_up)
    given_up.close()
    assert ids(one.training_epoch(2)) == ids(alone.training_epoch(2))


def test_evaluation_takes_twice_the_batch_unless_it_is_told_a_size(dataset):
    part = loader(dataset, batch_size=5)
    assert {len(b) for b in ids(part.evaluation())[:-1]} == {10}
    assert {len(b) for b in ids(part.evaluation(3))[:-1]} == {3}
