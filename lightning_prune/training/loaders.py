"""Loaders: one, or several in a list or dict, read without moving where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_prune.network.batches import draw_batches, example_batch
from lightning_prune.network.samples import Amount


def indexed(loaders: Any) -> bool:
    """Whether samples of all loaders can be read by index."""
    if isinstance(loaders, dict | list | tuple):
        parts = loaders.values() if isinstance(loaders, dict) else loaders
        return all(indexed(part) for part in parts)
    if not isinstance(loaders, DataLoader) or isinstance(loaders.dataset, IterableDataset):
        return False  # a stream has __getitem__ too, and raises in it
    return hasattr(loaders.dataset, "__getitem__")


def examples(loaders: Any) -> Any:
    """One small batch in the form that several loaders give one."""
    if isinstance(loaders, dict):
        return {name: examples(part) for name, part in loaders.items()}
    if isinstance(loaders, list | tuple):
        return [examples(part) for part in loaders]
    return example_batch(loaders if indexed(loaders) else iter(loaders))


def drawn(
    loaders: Any, amount: Amount, shard: tuple[int, int], held_out: bool = False
) -> Iterator[Any]:
    """Batches in the form that several loaders give them; nothing is begun before the first."""
    if not isinstance(loaders, dict | list | tuple):
        # beginning a stream draws from the random streams
        source = loaders if indexed(loaders) else iter(loaders)
        yield from draw_batches(source, amount, shard, held_out=held_out)
        return
    parts = [drawn(part, amount, shard, held_out) for part in _values(loaders)]
    for batches in zip(*parts, strict=False):
        named = isinstance(loaders, dict)
        yield dict(zip(loaders, batches, strict=True)) if named else list(batches)


def first(loaders: Any, batch: Any) -> Any:
    """What the first of several loaders gave; the batch of a single one as it is."""
    while isinstance(loaders, dict | list | tuple) and isinstance(batch, dict | list | tuple):
        loaders = next(iter(_values(loaders)))
        batch = next(iter(_values(batch)))
    return batch


def _values(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def single(loaders: Any) -> bool:
    """Whether there is one loader, and not a list or dict of them."""
    return not isinstance(loaders, dict | list | tuple)
