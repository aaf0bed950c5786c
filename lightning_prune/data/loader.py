"""A data loader that continues where a checkpoint left it, to the same batches."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler


class EpochSampler(DistributedSampler):
    r"""Order of the samples as a pure function of (seed, epoch), shared out among the processes.

    Rank and world size are read from `torch.distributed` when an epoch begins, so one object serves
    one process and many. It is a `DistributedSampler`, which Lightning therefore leaves in place.
    As there, every rank gets equally many samples, the first ones of the order standing in for
    those that are missing.

    Args:
        dataset: What is sampled; only its length is used.
        shuffle: Whether the order changes from epoch to epoch.
        seed: First half of what determines the order; the second is the epoch.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.start = 0  # samples that the next iteration leaves out

    def __len__(self) -> int:
        return -(-len(self.dataset) // rank_and_world()[1])  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        rank, world = rank_and_world()
        length = len(self.dataset)  # type: ignore[arg-type]
        mine = torch.arange(rank, world * len(self), world) % max(length, 1)
        if self.shuffle:
            generator = torch.Generator().manual_seed(combined(self.seed, self.epoch))
            mine = torch.randperm(length, generator=generator)[mine]
        return iter(mine[start:].tolist())


class ResumableLoader(DataLoader):
    r"""A `DataLoader` that continues where its state says, with the same batches bit for bit.

    The order is a pure function of (seed, epoch); worker seeds come from a generator of its own, so
    iterating never touches the global random streams; the state is two integers, the epoch and the
    batches served in it. Lightning saves and restores it with the checkpoint and sets the epoch. In
    a loop of your own call `loader.sampler.set_epoch(epoch)` before each epoch.

    A state of an epoch that is over, or one after which another epoch was set, starts that epoch
    afresh. Batches already served are skipped without being read. Only where worker processes could
    draw random numbers for a sample are they read again, to draw the same: with `num_workers > 0`,
    unless the dataset declares by a method `set_epoch` that its samples are a pure function of
    epoch and index (it is called here before each epoch, and must reach persistent workers). Other
    datasets that draw random numbers in persistent workers cannot be continued exactly.

    Iteration begins at the first `next`, not at `iter`, since Lightning sets the epoch in between.

    Args:
        dataset: A dataset with a length. If it has an attribute `collate`, that is the default
            `collate_fn`.
        batch_size: Samples per batch and process.
        shuffle: Whether the order changes from epoch to epoch.
        seed: First half of what determines the order; the second is the epoch.
        sampler: An order of your own that has `set_epoch` and `epoch`, in place of `shuffle` and
            `seed`.
        options: Further arguments of `torch.utils.data.DataLoader`.

    Raises:
        TypeError: If the dataset has no length or the sampler no `set_epoch`.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        sampler: Sampler | None = None,
        **options: Any,
    ) -> None:
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                "ResumableLoader needs a dataset with a length; use torch's DataLoader instead."
            )
        if options.get("batch_sampler") is None:
            # Lightning puts a plain sequential sampler in place for overfit_batches
            if sampler is None or isinstance(sampler, SequentialSampler):
                sampler = EpochSampler(dataset, shuffle and sampler is None, seed)
            elif not hasattr(sampler, "set_epoch"):
                raise TypeError(
                    "ResumableLoader needs a sampler with `epoch` and `set_epoch`, which "
                    f"{type(sampler).__name__} lacks; use torch's DataLoader, which never resumes."
                )
        self.seed = seed
        self._served = (0, 0)  # epoch, batches
        self._resume: tuple[int, int] | None = None
        if options.get("collate_fn") is None:
            options["collate_fn"] = getattr(dataset, "collate", None)
        options["generator"] = torch.Generator()
        super().__init__(dataset, batch_size, sampler=sampler, **options)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration serves."""
        return int(getattr(self.sampler, "epoch", 0))

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of batches served in it."""
        if self._resume is not None:  # restored and not iterated since
            epoch, served = self._resume
        else:
            epoch, served = self._served
        return {"epoch": self.epoch, "served": served if epoch == self.epoch else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration continue behind the batches that `state` counts as served.

        Args:
            state: What `state_dict` returned.

        Raises:
            ValueError: If the state does not hold the two counts.
        """
        counts = [state.get(key) for key in ("epoch", "served")] if isinstance(state, dict) else []
        if not counts or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(
                "This is not the state of a ResumableLoader, which holds the integers 'epoch' and "
                "'served'; resume with the loader that the checkpoint was written with."
            )
        self._resume = (state["epoch"], state["served"])
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(state["epoch"])

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        epoch, skip = self.epoch, self._take_skip()
        self._served = (epoch, skip)
        # the workers of every rank have streams of their own
        self.generator.manual_seed(combined(combined(self.seed, rank_and_world()[0]), epoch))
        pure = hasattr(self.dataset, "set_epoch")
        if pure:
            self.dataset.set_epoch(epoch)  # type: ignore[attr-defined]
        unread = 0
        if isinstance(self.sampler, EpochSampler) and (pure or not self.num_workers):
            unread = skip
            self.sampler.start = skip * (self.batch_size or 1)
        batches = super().__iter__()
        for _ in range(skip - unread):
            next(batches)
        for batch in batches:
            # before the batch is handed out: a checkpoint written while it is in use counts it
            self._served = (epoch, self._served[1] + 1)
            yield batch

    def _take_skip(self) -> int:
        resume, self._resume = self._resume, None
        if resume is None or resume[0] != self.epoch or resume[1] >= len(self):
            return 0
        return resume[1]


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def combined(seed: int, number: int) -> int:
    """Make one seed of two numbers; distinct while the second is below 1,000,003."""
    return (seed * 1_000_003 + number) % 2**63
