"""Units: labels that can only leave together, and why some never can."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from lightning_prune.network.groups import Group, Slice
from lightning_prune.network.labels import Ids, Labels
from lightning_prune.network.layers import Layer

Signature = tuple[tuple[tuple[int, int], int], ...]  # ((held tensor, dimension), indices), ...
NAMES = 3  # names of layers that a group's own name spells out


class Units:
    """The labels of a traced network as units.

    A unit can leave if nothing in it was pinned, it holds no part of a frozen parameter, some
    layer reads it, and every layer that makes it is among those that may shrink.

    Arguments:
        labels: After the trace.
        positions: Multiply-adds per sample and entry, by held tensor.
    """

    def __init__(self, labels: Labels, positions: dict[int, int]) -> None:
        self._labels = labels
        self._positions = positions
        for held in labels.held:
            if isinstance(held.value, nn.Parameter) and not held.value.requires_grad:
                for ids in held.dims:
                    labels.pin(ids, f"{held.qualified} is frozen")
        self._root = labels.roots()
        self._order = self._root.argsort(kind="stable")
        self._sorted = self._root[self._order]
        self._places = {(id(h.module), h.tensor): place for place, h in enumerate(labels.held)}
        self._pins: dict[int, str] = {}
        for label, reason in labels.pins.items():
            self._pins.setdefault(int(self._root[label]), reason)
        self._read = set(self._root[list(labels.read)].tolist())
        self._makers: dict[int, set[int]] = defaultdict(set)
        for label, place in labels.made:
            self._makers[int(self._root[label])].add(place)
        self._keep_one()

    def pinned(self) -> dict[str, str]:
        """By layer of the whole network, why its filters, or some of them, have to stay."""
        layers = [
            Layer(held.name, held.module, out_dim=int(isinstance(held.module, _ConvTransposeNd)))
            for held in self._labels.held
            if held.layer
        ]
        return self.refused(layers)

    def refused(self, layers: Sequence[Layer]) -> dict[str, str]:
        """By layer, why its filters, or some of them, stay if only `layers` may shrink."""
        candidates = self._candidates(layers)
        refused = {}
        for layer in layers:
            rows = self._rows(layer)
            reasons = [self._reason(root, candidates) for root in rows]
            found = [reason for reason in reasons if reason is not None]
            if found:
                some = f" ({len(found)} of {len(rows)})" if len(found) < len(rows) else ""
                refused[layer.name] = found[0] + some
        return refused

    def groups(self, layers: Sequence[Layer]) -> list[Group]:
        """Units of equal make-up, together; every one of them can leave.

        Arguments:
            layers: That may lose outputs. Those of others stay; their inputs may go.
        """
        candidates = self._candidates(layers)
        found: dict[Signature, list[int]] = {}
        seen: set[int] = set()
        for layer in layers:
            for root in self._rows(layer):
                if root not in seen and self._reason(root, candidates) is None:
                    found.setdefault(self._signature(root), []).append(root)
                seen.add(root)
        names: Counter[str] = Counter()
        return [self._group(layers, signature, roots, names) for signature, roots in found.items()]

    def _keep_one(self) -> None:
        """A layer all of whose outputs are one unit would be left without any."""
        made: dict[int, set[int]] = defaultdict(set)
        for root, places in self._makers.items():
            for place in places:
                made[place].add(root)
        for roots in made.values():
            if len(roots) == 1:
                self._pins.setdefault(min(roots), "it is the only one of its layer")

    def _candidates(self, layers: Iterable[Layer]) -> set[int]:
        return {place for layer in layers if (place := self._place(layer)) is not None}

    def _place(self, layer: Layer) -> int | None:
        """Among the held tensors; None: the layer is of another network."""
        return self._places.get((id(layer.module), layer.tensor))

    def _rows(self, layer: Layer) -> list[int]:
        """The unit of every filter."""
        place = self._place(layer)
        ids = None if place is None else self._labels.held[place].dims[layer.out_dim]
        return [] if ids is None else self._root[ids].tolist()

    def _reason(self, root: int, candidates: set[int]) -> str | None:
        if root in self._pins:
            return self._pins[root]
        makers = self._makers.get(root)
        if not makers:
            return "the traced forward does not call it"
        if root not in self._read:
            return "no layer was seen to read them"
        others = sorted(makers - candidates)
        if others:
            name = self._labels.held[others[0]].name
            return f"they are shared with {name}, which is not to be pruned"
        return None

    def _members(self, root: int) -> Ids:
        """Labels of a unit."""
        first, last = np.searchsorted(self._sorted, [root, root + 1])
        return self._order[first:last]

    def _signature(self, root: int) -> Signature:
        owners = self._labels.owners[self._members(root), :2]
        counts = Counter(map(tuple, owners.tolist()))
        return tuple(sorted(counts.items()))

    def _group(
        self,
        layers: Sequence[Layer],
        signature: Signature,
        roots: list[int],
        names: Counter[str],
    ) -> Group:
        held = self._labels.held
        maps = {
            (place, dim): np.full(held[place].value.shape[dim], -1, np.int64)
            for (place, dim), _ in signature
        }
        for unit, root in enumerate(roots):
            for place, dim, index in self._labels.owners[self._members(root)].tolist():
                maps[place, dim][index] = unit
        makers = tuple(layer for layer in layers if (self._place(layer), layer.out_dim) in maps)
        shown = [layer.name for layer in makers]
        if len(shown) > NAMES:
            shown = [shown[0], f"{len(shown) - 1} more"]
        name = "+".join(shown)
        names[name] += 1
        if names[name] > 1:
            name = f"{name}#{names[name]}"
        slices = tuple(
            Slice(
                held[place].name,
                held[place].module,
                held[place].tensor,
                dim,
                torch.from_numpy(units),
                self._positions.get(place, 0),
            )
            for (place, dim), units in maps.items()
        )
        return Group(name, makers, slices, len(roots))
