"""Similarity: do networks still agree when their inputs are noisy?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_prune.evaluation.outputs import (
    finite_rows,
    known,
    logits_of,
    matching,
    softmax_distances,
)
from lightning_prune.evaluation.potential import DELTA, prune_potential
from lightning_prune.network.untouched import untouched

EPS = tuple(np.linspace(0, 0.7, 15).tolist())  # in units of normalised inputs, as in the paper
SUMS = ("matching", "distance", "accuracy", "dense")


def noise_similarity(  # noqa: PLR0913
    dense: nn.Module,
    networks: Mapping[str, nn.Module],
    images: Tensor,
    eps: Sequence[float] | None = None,
    draws: int = 100,
    seed: int = 0,
    *,
    labels: Tensor | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """How far networks agree with the dense one on images with noise.

    Noise is uniform in [-eps, eps], of every value of the normalised input by itself, and nothing
    is clipped. An image has the same noise in a draw for all networks, times eps, so that their
    differences and those along eps are not those of draws. One noisy batch is in memory at a time.

    Arguments:
        dense: The network that others are compared with.
        networks: By name, the others; a dense network trained apart shows how much agreement is
            no sign of kinship. Their logits are (n, classes).
        images: (n, ...), normalised, of floating point.
        eps: Sizes of the noise, from 0 up; None: 15 from 0 to 0.7.
        draws: Of the noise of every image.
        seed: Of the noise.
        labels: (n,), for accuracies; None: none.
        batch_size: Images of a forward; no noise depends on it.
        progress: Called after each draw with how many are done, and in all.

    Returns:
        A row a network and eps: `network`, `eps`, `matching` (share of images with the same
        predicted class) and `distance` (Euclidean, of softmax outputs; None where an output was
        not finite), means over images and draws, with `matching_std` and `distance_std` over
        draws of the means over images (None for one draw). With labels also `accuracy` and
        `dense_accuracy`, and by draw `accuracies` and `dense_accuracies`.

    Raises:
        ValueError: Images are no floating-point tensor of at least one, there is no draw or
            network, an eps is below 0, or labels do not fit.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014.
    """
    sizes = list(EPS if eps is None else eps)
    _check(images, labels, networks, sizes, draws)
    shape = (len(SUMS), len(networks), len(sizes), draws)
    sums = torch.zeros(shape, dtype=torch.float64)
    device = next((p.device for p in dense.parameters()), torch.device("cpu"))
    with torch.inference_mode(), ExitStack() as stack:
        for network in (dense, *networks.values()):
            stack.enter_context(untouched(network))
        for draw in range(draws):
            for start, batch in _batches(images, batch_size):
                own = None if labels is None else labels[start : start + batch_size].cpu()
                plain, noise = batch.to(device), unit_noise(batch, seed, draw, start).to(device)
                for place, size in enumerate(sizes):
                    compared = _compare(dense, networks, plain.add(noise, alpha=size), own)
                    sums[:, :, place, draw] += compared
            if progress is not None:
                progress(draw + 1, draws)
    means = dict(zip(SUMS, sums / len(images), strict=True))
    return [
        {"network": name, "eps": size} | _row({s: means[s][i, j] for s in SUMS}, labels is not None)
        for i, name in enumerate(networks)
        for j, size in enumerate(sizes)
    ]


def unit_noise(images: Tensor, seed: int, draw: int, first: int = 0) -> Tensor:
    """Uniform noise in [-1, 1), by seed, draw and place of every image alone.

    Arguments:
        images: (n, ...), whose shape and dtype it has.
        seed: Of all noise.
        draw: Number of the draw.
        first: Place of the first of the images.
    """
    noise = torch.empty(images.shape, dtype=images.dtype)
    # a state more does not change those before it
    states = np.random.SeedSequence([seed, draw]).generate_state(first + len(images), np.uint64)
    generator = torch.Generator()
    for own, state in zip(noise, states[first:].tolist(), strict=True):
        own.uniform_(-1, 1, generator=generator.manual_seed(state >> 1))
    return noise


def potential_over_noise(
    rows: Sequence[Mapping[str, Any]], keeps: Mapping[str, float], delta: float = DELTA
) -> list[dict[str, Any]]:
    """The prune potential under noise: by draw, then its mean.

    Arguments:
        rows: Of `noise_similarity` with labels.
        keeps: What each pruned network keeps, by name; rows of others are left out.
        delta: How much accuracy a network may lose against the dense one in the same draw.

    Returns:
        A row an eps: `eps`, `potential` and `potential_std` (over draws; None for one).

    Raises:
        ValueError: There were no labels, or no row is of a network with a keep.
    """
    own = [row for row in rows if row["network"] in keeps]
    if not own or any("accuracies" not in row for row in own):
        raise ValueError("A potential needs rows of pruned networks, measured with labels.")
    found = []
    for size in dict.fromkeys(row["eps"] for row in own):
        here = [row for row in own if row["eps"] == size]
        shares = [keeps[row["network"]] for row in here]
        lost = [
            [d - a for a, d in zip(row["accuracies"], row["dense_accuracies"], strict=True)]
            for row in here
        ]
        by_draw = [
            prune_potential(shares, list(of_draw), 0.0, delta).value
            for of_draw in zip(*lost, strict=True)
        ]
        mean, std = _spread(torch.tensor(by_draw, dtype=torch.float64))
        found.append({"eps": size, "potential": mean, "potential_std": std})
    return found


def _batches(images: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(images), size):
        yield start, images[start : start + size]


def _compare(
    dense: nn.Module, networks: Mapping[str, nn.Module], noisy: Tensor, labels: Tensor | None
) -> Tensor:
    """(sums, networks), over the images of a batch."""
    parent = logits_of(dense, noisy)
    columns = []
    for network in networks.values():
        logits = logits_of(network, noisy)
        columns.append(
            [
                float(matching(logits, parent).sum()),
                float(softmax_distances(logits, parent).sum()),
                _hits(logits, labels),
                _hits(parent, labels),
            ]
        )
    return torch.tensor(columns, dtype=torch.float64).T


def _hits(logits: Tensor, labels: Tensor | None) -> float:
    if labels is None:
        return 0.0
    return float(((logits.argmax(1) == labels) & finite_rows(logits)).sum())


def _row(means: Mapping[str, Tensor], labelled: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in ("matching", "distance"):
        row[name], row[f"{name}_std"] = _spread(means[name])
    if labelled:
        accuracies = {"accuracy": means["accuracy"], "dense_accuracy": means["dense"]}
        row |= {name: float(values.mean()) for name, values in accuracies.items()}
        row["accuracies"] = means["accuracy"].tolist()
        row["dense_accuracies"] = means["dense"].tolist()
    return row


def _spread(by_draw: Tensor) -> tuple[float | None, float | None]:
    std = known(float(by_draw.std())) if len(by_draw) > 1 else None
    return known(float(by_draw.mean())), std


def _check(
    images: Tensor,
    labels: Tensor | None,
    networks: Mapping[str, nn.Module],
    eps: Sequence[float],
    draws: int,
) -> None:
    if not images.is_floating_point() or not len(images):
        raise ValueError("Noise is added to normalised images: a floating-point tensor of some.")
    if draws < 1 or not networks or not eps or min(eps) < 0:
        raise ValueError(
            f"It takes a network, a draw and an eps from 0 up, not {len(networks)} networks, "
            f"{draws} draws and eps of {list(eps)}."
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images do not have {tuple(labels.shape)} labels.")
