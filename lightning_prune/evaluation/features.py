"""Informative features: which pixels a network decides by, and whether others can use them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.evaluation.outputs import finite_rows, logits_of
from lightning_prune.network.untouched import untouched


def backward_selection(
    net: nn.Module,
    images: Tensor,
    *,
    block: int = 1,
    remove: int = 1,
    value: float = 0.0,
    batch_size: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The order in which units can be taken out of an image, the least informative first.

    A unit is a pixel, or a block of them, in all channels. From the whole image on, that unit is
    removed without which the network is most confident of the class that it predicted at first.
    Confidences are compared by their log odds, which are as large as the softmax output is, and
    still differ where it rounds to 1. A unit without which logits are not finite goes last; of
    equal ones the first.

    With u units and `remove` 1 the network sees u (u + 1) / 2 images for each, so 524,800 for the
    pixels of 32 x 32, 32,896 for its blocks of 2 x 2, and `remove` times less for larger ones.

    Arguments:
        net: Gives logits (n, classes); run in eval mode without gradients, and left as it was.
        images: (n, channels, height, width), normalised.
        block: Height and width of a unit in pixels; those at the right and the lower edge are
            smaller where it does not divide the image.
        remove: Units taken out in a step, all by the same confidences: faster and less exact.
        value: What removed pixels are set to; 0 is the mean of normalised images.
        batch_size: Images of a forward; memory is as much as it takes.
        progress: Called after each step with how many units are out, and in all.

    Returns:
        (n, units), numbers of units, counted row by row. The reverse is their importance.

    Raises:
        ValueError: Images are no such tensor, or a number is out of its range.

    Source:
        Brandon Carter, Jonas Mueller, Siddhartha Jain and David Gifford, "What made you do this?
        Understanding black-box decisions with sufficient input subsets", AISTATS 2019,
        arXiv:1810.03805, which shows single features; blocks and steps are of this package.
    """
    units = _units(images, block)
    if min(remove, batch_size) < 1:
        raise ValueError(f"remove and batch_size are at least 1, not {remove} and {batch_size}.")
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    images = images.to(device)
    kept = torch.ones(len(images), units, dtype=torch.bool)
    steps: list[Tensor] = []
    with torch.inference_mode(), untouched(net):
        parts = range(0, len(images), batch_size)
        logits = [logits_of(net, images[start : start + batch_size]) for start in parts]
        classes = torch.cat(logits).argmax(1)
        masked = functools.partial(_masked, block=block, value=value)
        odds = functools.partial(_odds_without, net, images, classes, masked, batch_size)
        while left := int(kept[0].sum()):
            candidates = kept.nonzero()[:, 1].view(len(images), left)  # in rising order
            if left > 1:
                places = odds(kept, candidates).sort(dim=1, descending=True, stable=True).indices
                candidates = candidates.gather(1, places[:, :remove])
            steps.append(candidates)
            kept.scatter_(1, candidates, False)
            if progress is not None:
                progress(units - left + candidates.shape[1], units)
    return torch.cat(steps, 1)


def informative_features(
    networks: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    share: float = 0.1,
    **selection: Any,
) -> list[dict[str, Any]]:
    """What every network makes of the pixels that another one decides by.

    Networks that rank pixels alike recognise images by the same evidence. A dense network trained
    apart shows how much is the images' doing.

    Arguments:
        networks: By name, of logits (n, classes).
        images: (n, channels, height, width), normalised.
        labels: (n,).
        share: Of units that stay, the last ones of `backward_selection`; at least one does.
        selection: `block`, `remove`, `value`, `batch_size` and `progress` of
            `backward_selection`; the last for each network in turn.

    Returns:
        A row a pair: `ranked_by` and `judged_by` (names), `confidence` (mean softmax output of
        the true class) and `accuracy` on what stays of the images, `units` and `kept` (how many
        there are and stay), `images`.

    Raises:
        ValueError: There is no network, the share is not in (0, 1], labels do not fit, or images
            or numbers are out of their range.

    Source:
        Lucas Liebenwein, Cenk Baykal, Brandon Carter, David Gifford and Daniela Rus, "Lost in
        Pruning: The Effects of Pruning Neural Networks beyond Test Accuracy", MLSys 2021,
        arXiv:2103.03014.
    """
    if not networks or not 0 < share <= 1:
        raise ValueError(f"It takes a network and a share in (0, 1], not {share}.")
    block, value = selection.get("block", 1), selection.get("value", 0.0)
    units = _units(images, block)
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images do not have {tuple(labels.shape)} labels.")
    most = max(round(share * units), 1)
    rows = []
    for ranked_by, ranking in networks.items():
        order = backward_selection(ranking, images, **selection)
        kept = torch.zeros(len(images), units, dtype=torch.bool)
        kept.scatter_(1, order[:, units - most :], True)
        left = _masked(images, kept.to(images.device), block, value)
        for judged_by, network in networks.items():
            confidence, accuracy = _judge(network, left, labels, selection.get("batch_size", 1024))
            rows.append(
                {
                    "ranked_by": ranked_by,
                    "judged_by": judged_by,
                    "confidence": confidence,
                    "accuracy": accuracy,
                    "units": units,
                    "kept": most,
                    "images": len(images),
                }
            )
    return rows


def _units(images: Tensor, block: int) -> int:
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError("Images are a floating-point tensor of (n, channels, height, width).")
    if block < 1:
        raise ValueError(f"A block is 1 pixel high and wide at least, not {block}.")
    return math.ceil(images.shape[2] / block) * math.ceil(images.shape[3] / block)


def _odds_without(
    net: nn.Module,
    images: Tensor,
    classes: Tensor,
    masked: Callable[[Tensor, Tensor], Tensor],
    batch_size: int,
    kept: Tensor,
    candidates: Tensor,
) -> Tensor:
    """(n, candidates) log odds of each image's class without each candidate."""
    owner = torch.arange(len(images)).repeat_interleave(candidates.shape[1])
    found = []
    for part, units in zip(
        owner.split(batch_size), candidates.flatten().split(batch_size), strict=True
    ):
        masks = kept[part].scatter_(1, units[:, None], False).to(images.device)
        logits = logits_of(net, masked(images[part.to(images.device)], masks)).double()
        own = classes[part][:, None]
        odds = logits.gather(1, own)[:, 0] - logits.scatter(1, own, -torch.inf).logsumexp(1)
        found.append(odds.masked_fill(~finite_rows(logits), -torch.inf))
    return torch.cat(found).view(candidates.shape)


def _masked(images: Tensor, kept: Tensor, block: int, value: float) -> Tensor:
    """Images with `value` where a unit (n, units) is not kept."""
    height, width = images.shape[2:]
    grid = kept.view(len(kept), 1, math.ceil(height / block), math.ceil(width / block))
    whole = grid.repeat_interleave(block, 2).repeat_interleave(block, 3)
    return torch.where(whole[:, :, :height, :width], images, value)


def _judge(net: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> tuple[float, float]:
    """Mean confidence in the true class, and the share of images that are recognised."""
    with torch.inference_mode(), untouched(net):
        logits = torch.cat([logits_of(net, part) for part in images.split(batch_size)])
    labels = labels.cpu()
    confidences = logits.double().softmax(1).gather(1, labels[:, None])
    hits = (logits.argmax(1) == labels) & finite_rows(logits)
    return float(confidences.mean()), float(hits.double().mean())
