"""Drawing batches: by index, from a stream of their own, dealt evenly."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_prune import Samples
from lightning_prune.network.batches import batch_size, draw_batches


def loader(count=20, **options):
    return DataLoader(torch.arange(count), **options)


def drawn(data, amount, shard=(0, 1)):
    return [batch.tolist() for batch in draw_batches(data, amount, shard)]


def test_batches_are_counted_or_samples_are():
    assert [len(b) for b in drawn(loader(batch_size=4), 3)] == [4, 4, 4]
    assert [len(b) for b in drawn(loader(batch_size=4), Samples(8))] == [4, 4]


def test_no_batch_is_a_rest():
    """9 samples in batches of at most 4: a rest of 1 would have no variance."""
    assert [len(b) for b in drawn(loader(batch_size=4), Samples(9))] == [3, 3, 3]
    assert [len(b) for b in drawn(loader(17, batch_size=4), 8)] == [4, 4, 3, 3, 3]


@pytest.mark.parametrize("amount", [8, Samples(100)], ids=["batches", "samples"])
def test_data_that_end_are_all_seen_once(amount):
    seen = [n for batch in drawn(loader(10, batch_size=4), amount) for n in batch]
    assert sorted(seen) == list(range(10))


def test_neither_the_size_of_batches_nor_their_shuffling_decides_which_samples_are_drawn():
    whole = [n for batch in drawn(loader(batch_size=4), Samples(9)) for n in batch]
    for options in ({"batch_size": 1}, {"batch_size": 7, "shuffle": True}, {"batch_size": 20}):
        assert [n for b in drawn(loader(**options), Samples(9)) for n in b] == whole
    assert len(set(whole)) == 9


def test_another_seed_draws_other_samples_and_the_streams_of_the_run_stay():
    before = torch.get_rng_state()
    one, other = (drawn(loader(batch_size=9), Samples(9, seed=seed)) for seed in (0, 1))
    assert one != other
    assert drawn(loader(batch_size=9), Samples(9)) == one
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("amount", [3, Samples(11)], ids=["batches", "samples"])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_share_what_one_process_would_have_seen(amount, shards):
    alone = sorted(n for batch in drawn(loader(batch_size=4), amount) for n in batch)
    parts = [drawn(loader(batch_size=4), amount, (i, shards)) for i in range(shards)]
    assert sorted(n for part in parts for batch in part for n in batch) == alone


def test_a_batch_is_divided_where_there_are_more_shards_than_batches():
    parts = [drawn(loader(batch_size=4), 1, (i, 3)) for i in range(3)]
    assert [len(batch) for part in parts for batch in part] == [2, 1, 1]


class Stream(IterableDataset):
    read = 0

    def __iter__(self):
        for n in range(100):
            self.read += 1
            yield n


@pytest.mark.parametrize("amount", [2, Samples(7)], ids=["batches", "samples"])
def test_of_a_stream_no_more_is_read_than_is_asked_for(amount):
    stream = Stream()
    assert drawn(DataLoader(stream, batch_size=4), amount) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert stream.read == 8


def test_every_shard_of_a_stream_sees_a_batch():
    data = [torch.arange(4), torch.arange(4, 8), torch.arange(8, 12)]
    assert [drawn(data, 1, (i, 2)) for i in (0, 1)] == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]


def test_nested_batches_keep_their_form_and_know_their_size():
    pairs = TensorDataset(torch.arange(6), torch.arange(6) * 2)
    named = [{"x": (x, {"y": y})} for x, y in pairs]
    for data in (pairs, named):
        for batch in draw_batches(DataLoader(data, batch_size=3), 2):
            assert batch_size(batch) == 3
    (x, inner) = next(draw_batches(DataLoader(named, batch_size=3), 1))["x"]
    assert torch.equal(inner["y"], 2 * x)
