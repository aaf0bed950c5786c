"""The stopwatch: measures a network's latency tables, every layer alone at a grid of widths."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_prune import clock
from lightning_prune.network.batches import call
from lightning_prune.network.inputs import resized
from lightning_prune.network.latency import LatencyTables, Table
from lightning_prune.network.standalone import Use, uses
from lightning_prune.network.untouched import untouched

SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
MULTIPLE = 8  # that kernels work in
ROUNDS = 5

Timer = Callable[[Sequence[clock.Side], torch.device], list[float]]


def measure_latencies(
    model: nn.Module,
    example: Any,
    *,
    batch: int | None = 1,
    threads: int | None = None,
    timer: Timer | None = None,
) -> LatencyTables:
    """Measure what every layer costs at any width, here and now.

    Linear layers, convolutions and batch norms have tables: the layer alone, in eval mode, with
    inputs of the size that it had in the network's forward. Widths between those that were
    measured are interpolated, and what noise or kernels make fall is levelled. All else (other
    norms, activations, products of activations) is a constant rest.

    Arguments:
        model: Dense; it stays as it is, and so do random streams. In half precision only where
            its weights are.
        example: A batch of network inputs.
        batch: Samples that the example is repeated, or cut, to; None: those that it has.
        threads: Of torch; None: as many as there are now.
        timer: (sides, device) -> seconds of a call of each; None: the fastest of some rounds.
    """
    inputs = example if batch is None else resized(example, batch)
    run = functools.partial(call, model, inputs)
    return measure_runs(model, run, batch=batch or 1, threads=threads, timer=timer)


def measure_runs(
    model: nn.Module,
    run: Callable[[], object],
    *,
    batch: int = 1,
    threads: int | None = None,
    timer: Timer | None = None,
) -> LatencyTables:
    """The same of what `run` makes of the model; `batch` says how many samples it takes."""
    parameter = next(model.parameters(), torch.empty(0))
    time: Timer = timer or (lambda sides, device: clock.fastest(sides, ROUNDS, device))
    with (
        untouched(model),
        torch.inference_mode(),
        clock.threads(threads or torch.get_num_threads()),
    ):
        with uses(model) as seen:
            run()
        wholes = time([run], parameter.device)
        distinct = list(dict.fromkeys(use for of_layer in seen.values() for use in of_layer))
        grids = [_measured(use, time) for use in distinct]
        # once more: the machine may have been busy for all of the first rounds
        whole = min(wholes + time([run], parameter.device))
        counted = torch.get_num_threads()
    counts = [sum(of.count(use) for of in seen.values()) for use in distinct]
    alone = sum(n * grid[-1, -1] for n, grid in zip(counts, grids, strict=True))
    # layers alone may take longer than all of them together: their shares are what is known
    scale = min(1.0, whole / alone) if alone else 1.0
    tables = [_table(use, grid * scale) for use, grid in zip(distinct, grids, strict=True)]
    dense = max(1, round(1e9 * whole))
    charged = sum(n * table.dense for n, table in zip(counts, tables, strict=True))
    return LatencyTables(
        tables=tuple(tables),
        layers={n: tuple(distinct.index(use) for use in of) for n, of in seen.items()},
        rest=max(0, dense - charged),
        batch=batch,
        threads=counted,
        device=parameter.device.type,
    )


def widths(size: int) -> list[int]:
    """The sizes that are measured of a dimension, rising from 1; multiples of 8 if it is wide."""
    if size < 2 * MULTIPLE:
        found = {max(1, round(size * share)) for share in SHARES}
    else:
        found = {MULTIPLE * max(1, round(size * share / MULTIPLE)) for share in SHARES}
    return sorted({1, size} | {width for width in found if width < size})


def _measured(use: Use, time: Timer) -> np.ndarray:
    """(rows, columns) seconds of a use at the grid of its widths."""
    rows, columns = (widths(size) for size in use.sizes)
    sides = [use.side(row, column) for row, column in itertools.product(rows, columns)]
    return np.array(time(sides, use.device)).reshape(len(rows), len(columns))


def _table(use: Use, seconds: np.ndarray) -> Table:
    """The grid as a table: in whole nanoseconds, never falling, and 0 for no layer."""
    level = np.round(1e9 * _monotone(seconds)).astype(np.int64)
    grid = np.pad(level, ((1, 0), (1, 0)))
    rows, columns = ((0, *widths(size)) for size in use.sizes)
    return Table(rows, columns, tuple(tuple(int(n) for n in row) for row in grid))


def _monotone(grid: np.ndarray) -> np.ndarray:
    """What lies half way between the lowest grid above and the highest below that never fall.

    The last entry, of the whole layer, is then at most off by half of what others exceed it by.
    """
    above = np.maximum.accumulate(np.maximum.accumulate(grid, 0), 1)
    below = grid[::-1, ::-1]
    below = np.minimum.accumulate(np.minimum.accumulate(below, 0), 1)[::-1, ::-1]
    return (above + below) / 2
