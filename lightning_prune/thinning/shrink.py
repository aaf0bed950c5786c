"""Shrinking: dead units taken out of a model, as far as it computes the same without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.thinning.blame import alike, blame
from lightning_prune.thinning.cut import Cut, cut, kept_indices
from lightning_prune.thinning.dead import Dead
from lightning_prune.thinning.heads import cut_heads
from lightning_prune.thinning.proof import Reference

Refused = dict[Group, str]  # groups that a forward does not follow, and why


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What was cut.

    Arguments:
        cut: The cut, by which an optimizer's memory can be cut alike.
        refused: Groups that stayed whole, and why.
        error: Largest difference to the model before, as a share of its largest output.
    """

    cut: Cut
    refused: Refused
    error: float


def shrink(dead: Dead, reference: Reference) -> Shrunk:
    """Make the largest part of a cut, in place, with which the model computes the same.

    Where a forward fails, or gives something else, the layers to blame stay as they are, and the
    rest is tried again.

    Arguments:
        dead: Units of a model.
        reference: The same model, which has not changed since.

    Raises:
        ValueError: The model computes something else and no layer is to blame; it is as it was.
    """
    model, refused = reference.model, Refused()
    expected: Mapping[str, list[Tensor]] | None = None
    while True:
        done = _made(model, dead, refused)
        folds = any(group not in refused for group, _ in dead.folded)
        error = _error(reference)
        if error <= reference.tolerance(rounded=folds):
            return Shrunk(done, refused, error)
        done.undo()
        if expected is None:
            expected, *_ = reference.modules()
        done = _made(model, dead, refused)
        left = [g for g, f in dead.gone.items() if g not in refused and bool(f.any())]
        blamed = blame(reference, expected, left)
        done.undo()
        if not blamed:
            raise ValueError(
                f"The thin {type(model).__name__} differs from the masked one by {error:.1e} of "
                "the largest output, and no layer could be found that is to blame; the model is "
                "as it was."
            )
        refused |= (guilty := _singled_out(dead, reference, blamed))
        refused |= alike(model, guilty, [group for group in left if group not in refused])


def _singled_out(dead: Dead, reference: Reference, blamed: Refused) -> Refused:
    """Of several groups those that fail alone; all, if none does."""
    if len(blamed) == 1:
        return blamed
    failing: Refused = {}
    for group, why in blamed.items():
        others = {other: "" for other in dead.gone if other is not group}
        done = _made(reference.model, dead, others)
        if _error(reference) > reference.tolerance(rounded=True):
            failing[group] = why
        done.undo()
    return failing or blamed


def _error(reference: Reference) -> float:
    try:
        return reference.error()
    except Exception:  # whatever a forward raises that does not fit its tensors any more
        return float("inf")


def _made(model: nn.Module, dead: Dead, refused: Refused) -> Cut:
    leaving = {group: flags for group, flags in dead.gone.items() if group not in refused}
    folded: dict[nn.Module, Tensor] = {}
    for (group, layer), gain in dead.folded.items():
        if group in leaving:
            folded[layer] = folded.get(layer, torch.zeros_like(gain)) + gain
    done = cut(model, kept_indices(leaving), folded)
    cut_heads(done, leaving)
    return done
