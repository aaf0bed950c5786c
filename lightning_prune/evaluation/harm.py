"""Harm: which class pays for pruning, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Harm:
    """What every class lost in recall, the share of its samples that are recognised.

    Arguments:
        worst_class: The class that lost most; of several the first.
        worst_drop: Its dense recall less its pruned one; below 0 where every class gained.
        drops: Of every class; NaN where it has no samples.
        spread: Largest less smallest drop: 0 where all classes pay alike.
    """

    worst_class: int
    worst_drop: float
    drops: list[float]
    spread: float

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name."""
        return asdict(self)


def class_harm(
    dense_recalls: Sequence[float] | Tensor, pruned_recalls: Sequence[float] | Tensor
) -> Harm:
    """Which class lost most recall.

    Arguments:
        dense_recalls: (classes,), NaN for those without samples, which are never worst.
        pruned_recalls: (classes,), of the pruned network on the same samples.

    Raises:
        ValueError: Lengths differ, or no class has samples.

    Source:
        Sara Hooker, Aaron Courville, Gregory Clark, Yann Dauphin and others, "What Do Compressed
        Deep Neural Networks Forget?", arXiv:1911.05248, which finds that few classes pay for most
        of what pruning costs.
    """
    dense, pruned = (
        torch.as_tensor(recalls, dtype=torch.float64) for recalls in (dense_recalls, pruned_recalls)
    )
    if dense.ndim != 1 or dense.shape != pruned.shape:
        raise ValueError(
            f"Both networks have a recall of every class, not {tuple(dense.shape)} and "
            f"{tuple(pruned.shape)}."
        )
    drops = dense - pruned
    if not len(drops) or bool(drops.isnan().all()):
        raise ValueError("No class has samples, so none has a recall.")
    worst = int(drops.nan_to_num(nan=-math.inf).argmax())
    spread = drops[worst] - drops.nan_to_num(nan=math.inf).min()
    return Harm(worst, float(drops[worst]), drops.tolist(), float(spread))
