"""Batches to look at a network with, drawn without disturbing the run they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_prune.network.samples import Amount, Samples


def first_loader(loaders: Any) -> Any:
    """The first loader of a list or dict of them; a loader, and a list of batches, as it is."""
    found = loaders
    while isinstance(found, list | tuple | dict) and found:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    return loaders if isinstance(found, torch.Tensor) else found


def draw_batches(
    loaders: Any, amount: Amount, shard: tuple[int, int] = (0, 1), *, held_out: bool = False
) -> Iterator[Any]:
    """Batches in the loader's own form, of its size at most, in an order of their own.

    A data set that can be indexed is read by indices from a seeded stream, so the loader's
    position, its workers and the global random streams stay as they are; only a stream of data
    has to be begun from its start. The samples are dealt evenly, so that no batch is a rest of
    one, of which a norm could take no statistics; which samples they are depends on the seed and
    the number alone, and not on the size of batches.

    Arguments:
        loaders: A `DataLoader`, any iterable of batches, or a list or dict of them.
        amount: Number of batches over all shards, or `Samples` with a number, which a stream
            exceeds by a part of a batch; fewer if the data end before.
        shard: (index, number of shards); each yields every n-th of the batches.
        held_out: Instead as many of those that come after them, as far as there are any.
    """
    loader = first_loader(loaders)
    if not _indexed(loader):
        for index, batch in enumerate(_begun(loader, amount, shard[1], held_out)):
            if index % shard[1] == shard[0]:
                yield batch
        return
    dataset: Any = loader.dataset
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    drawn = Samples(amount * size) if isinstance(amount, int) else amount
    stream = torch.Generator().manual_seed(drawn.seed)
    first = drawn.number if held_out else 0
    order = torch.randperm(len(dataset), generator=stream)[first:][: drawn.number]
    if not len(order):
        return
    # every shard sees one at least, or it could say nothing of its layers
    parts = max(math.ceil(len(order) / size), min(len(order), shard[1]))
    fetch = getattr(dataset, "__getitems__", None)
    for part in order.tensor_split(max(parts, 1))[shard[0] :: shard[1]]:
        places = part.tolist()
        yield loader.collate_fn(fetch(places) if fetch else [dataset[i] for i in places])


def _begun(loader: Any, amount: Amount, least: int, held_out: bool) -> Iterator[Any]:
    """Batches from the beginning of a stream, until there are as many as asked for; or the next."""
    samples, count, passed = 0, 0, not held_out
    for batch in loader:
        if passed:
            yield batch
        count, samples = count + 1, samples + batch_size(batch)
        enough = count >= amount if isinstance(amount, int) else samples >= (amount.number or 1)
        if enough and count >= least:
            if passed:
                return
            samples, count, passed = 0, 0, True


def example_batch(loaders: Any, samples: int = 2) -> Any:
    """The first samples in the loader's own form; the loader is not advanced."""
    loader = first_loader(loaders)
    if not _indexed(loader):
        return next(iter(loader))
    dataset: Any = loader.dataset
    places = list(range(min(samples, len(dataset))))
    fetch = getattr(dataset, "__getitems__", None)
    return loader.collate_fn(fetch(places) if fetch else [dataset[i] for i in places])


def _indexed(loader: Any) -> bool:
    """Whether samples can be read by index, and joined to batches as the loader does it."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False  # a stream has __getitem__ too, and raises in it
    return loader.batch_sampler is not None and hasattr(loader.dataset, "__getitem__")


def network_input(batch: Any) -> Any:
    """What a forward takes of a batch: the first of a pair; a tensor or mapping as it is."""
    return batch[0] if isinstance(batch, list | tuple) and batch else batch


def call(model: nn.Module, example: Any) -> Any:
    """The model's outputs for a tensor, a tuple of arguments or a dict of them, on its device."""
    own = next(model.parameters(), None)
    example = example if own is None else move(example, own.device)
    if isinstance(example, dict):
        return model(**example)
    return model(*example) if isinstance(example, tuple | list) else model(example)


def move(value: Any, device: torch.device) -> Any:
    """Nested tensors on a device; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [move(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def batch_size(batch: Any) -> int:
    """Samples in a batch: the first dimension of its first tensor, 1 without any."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.dim() else 1
    items = list(batch.values()) if isinstance(batch, dict) else batch
    if isinstance(items, list | tuple):
        for item in items:
            if isinstance(item, torch.Tensor | dict | list | tuple):
                return batch_size(item)
    return 1
