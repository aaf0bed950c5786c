import random
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset, WeightedRandomSampler

from lightning_prune.data import ResumableLoader

# Python 3.12 and later warn of what torch's worker processes do
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


class Counted(Dataset):
    """Hands out its indices and remembers them."""

    def __init__(self, length):
        self.length, self.read = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.read.append(index)
        return index


class Noisy(Dataset):
    """Draws random numbers for every sample."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return index + torch.rand(())


def batches(loader, epoch=None):
    if epoch is not None:
        loader.sampler.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


def test_order_is_a_pure_function_of_seed_and_epoch():
    first, second = (ResumableLoader(Counted(50), 8, shuffle=True, seed=3) for _ in range(2))
    torch.manual_seed(1)
    a = [batches(first, epoch) for epoch in range(3)]
    torch.manual_seed(2)
    b = [batches(second, epoch) for epoch in (2, 1, 0)]
    assert a == b[::-1]
    assert a[0] != a[1]
    assert sorted(chain(*a[0])) == list(range(50))
    assert batches(ResumableLoader(Counted(50), 8, shuffle=True, seed=4), 0) != a[0]
    # seed and epoch do not merely add up
    assert batches(ResumableLoader(Counted(50), 8, shuffle=True, seed=4), 0) != a[1]


def test_without_shuffling_the_order_is_that_of_the_dataset():
    loader = ResumableLoader(Counted(10), 4)
    assert batches(loader, 5) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(ResumableLoader(Counted(10), 4, drop_last=True)) == 2


def test_iterating_touches_no_global_random_stream():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    for workers in (0, 1):
        loader = ResumableLoader(Counted(20), 4, shuffle=True, num_workers=workers)
        batches(loader, 1)
        loader.load_state_dict({"epoch": 1, "served": 3})
        batches(loader)
    assert before == (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 1}, {"num_workers": 2, "persistent_workers": True}]
)
def test_a_restored_loader_serves_the_rest(options):
    straight = ResumableLoader(Counted(22), 4, shuffle=True, **options)
    batches(straight, 0)
    whole, states = [], []
    straight.sampler.set_epoch(1)
    for batch in straight:
        whole.append(batch.tolist())
        states.append(straight.state_dict())
    assert states[2] == {"epoch": 1, "served": 3}
    resumed = ResumableLoader(Counted(22), 4, shuffle=True, **options)
    for served in (1, 3, 5):
        resumed.load_state_dict(states[served - 1])
        assert resumed.state_dict() == states[served - 1]
        assert batches(resumed) == whole[served:]
        assert resumed.state_dict() == {"epoch": 1, "served": 6}
        assert batches(resumed) == whole  # only once
    resumed.load_state_dict(states[-1])  # the epoch was over
    assert batches(resumed) == whole


def test_a_state_is_dropped_when_another_epoch_begins():
    loader = ResumableLoader(Counted(12), 4, shuffle=True)
    fresh = batches(loader, 3)
    loader.load_state_dict({"epoch": 2, "served": 1})
    assert batches(loader, 3) == fresh
    next(iter(loader))
    loader.sampler.set_epoch(4)
    assert loader.state_dict() == {"epoch": 4, "served": 0}


def test_served_batches_are_skipped_without_reading_them():
    dataset = Counted(1000)
    loader = ResumableLoader(dataset, 10)
    loader.load_state_dict({"epoch": 0, "served": 98})
    assert batches(loader) == [list(range(980, 990)), list(range(990, 1000))]
    assert dataset.read == list(range(980, 1000))


def test_random_draws_in_workers_are_repeated():
    def make():
        return ResumableLoader(Noisy(), 4, shuffle=True, num_workers=2)

    torch.manual_seed(0)
    straight = batches(make(), 1)
    torch.manual_seed(1)
    resumed = make()
    resumed.load_state_dict({"epoch": 1, "served": 1})
    assert batches(resumed) == straight[1:]
    assert batches(resumed, 2) != straight


def test_iteration_begins_at_the_first_next():
    loader = ResumableLoader(Counted(12), 4, shuffle=True)
    iterator = iter(loader)  # Lightning makes the iterator before it sets the epoch
    loader.sampler.set_epoch(7)
    assert [batch.tolist() for batch in iterator] == batches(loader, 7)


def test_what_cannot_be_resumed_is_refused():
    with pytest.raises(TypeError, match="use torch's DataLoader"):
        ResumableLoader(Counted(4), sampler=WeightedRandomSampler([1.0] * 4, 4))
    with pytest.raises(TypeError, match="with a length"):
        ResumableLoader(iter(range(4)))
    loader = ResumableLoader(TensorDataset(torch.arange(4)))
    for state in ({}, {"epoch": 1}, {"epoch": 1, "served": "2"}, {"epoch": -1, "served": 0}, None):
        with pytest.raises(ValueError, match="not the state of a ResumableLoader"):
            loader.load_state_dict(state)
