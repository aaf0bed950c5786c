"""Loaders of several processes, and loaders that Lightning makes anew with another sampler."""

from itertools import chain

import pytest
import torch
from torch import distributed
from torch.utils.data.distributed import DistributedSampler

from lightning_prune.data import EpochSampler, ResumableLoader

# Python 3.12 and later warn of forks
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


def batches(loader, epoch=None):
    if epoch is not None:
        loader.sampler.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("length", [1, 9, 10])
def test_ranks_share_the_order(monkeypatch, length):
    alone = list(iter(EpochSampler(range(length), seed=5)))
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
        sampler = EpochSampler(range(length), seed=5)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == -(-length // 3)
    interleaved = [index for group in zip(*shares, strict=True) for index in group]
    assert interleaved == (alone * 3)[: len(interleaved)]


def share_of_a_rank(rank, folder, queue):
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    loader = ResumableLoader(range(21), 4, shuffle=True)
    loader.load_state_dict({"epoch": 1, "served": 1})
    queue.put((rank, len(loader), batches(loader)))
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_processes_continue_with_disjoint_shares(tmp_path):
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=share_of_a_rank, args=(rank, tmp_path, queue)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    results = sorted(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    order = list(iter(ordered(EpochSampler(range(21)), 1)))
    for rank, length, rest in results:
        mine = (order + order[:1])[rank::2]
        assert length == 3
        assert rest == [mine[4:8], mine[8:]]


def ordered(sampler, epoch):
    sampler.set_epoch(epoch)
    return sampler


def test_lightning_leaves_the_sampler_in_place_and_can_rebuild_the_loader():
    from pytorch_lightning.trainer.connectors.data_connector import (
        _request_dataloader,
        _update_dataloader,
    )
    from pytorch_lightning.trainer.states import RunningStage

    class Source:
        def dataloader(self):
            return self.loader

        def __init__(self):
            self.loader = ResumableLoader(
                range(10), batch_size=4, shuffle=True, seed=9, drop_last=True
            )

    class Inside(Source):
        def __init__(self):
            pass

        def dataloader(self):
            return ResumableLoader(range(10), batch_size=4, shuffle=True, seed=9, drop_last=True)

    for source in (Source(), Inside()):
        loader = _request_dataloader(source)
        assert isinstance(loader.sampler, DistributedSampler)  # so Lightning does not replace it
        again = _update_dataloader(loader, loader.sampler)
        assert (again.seed, again.batch_size, again.drop_last) == (9, 4, True)
        assert batches(again, 2) == batches(loader, 2)
        overfit = _update_dataloader(loader, torch.utils.data.SequentialSampler(loader.dataset))
        assert batches(overfit, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
        predicting = _update_dataloader(loader, loader.sampler, mode=RunningStage.PREDICTING)
        assert sorted(chain(*batches(predicting))) == list(range(10))
