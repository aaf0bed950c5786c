"""Masks of a run: packed bits as the master copy, floats on the device to work with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_prune.network.counting import CHUNK
from lightning_prune.network.groups import Group
from lightning_prune.structures import Mask, Structure


def pack(gain: Tensor) -> Tensor:
    """(ceil(n / 8),) uint8 on the CPU: one bit a unit, set where the gain is not 0."""
    flat = gain.detach().cpu().numpy()
    bits = np.empty((flat.size + 7) // 8, np.uint8)
    for start in range(0, flat.size, CHUNK):
        part = np.packbits(flat[start : start + CHUNK] != 0)
        bits[start // 8 : start // 8 + part.size] = part
    return torch.from_numpy(bits)


def unpack(bits: Tensor, size: int, device: torch.device | str = "cpu") -> Tensor:
    """(size,) float32 of 0 and 1, the inverse of `pack`."""
    flags = np.unpackbits(bits.cpu().numpy(), count=size)
    return torch.from_numpy(flags).to(device=device, dtype=torch.float32)


class Masks:
    """What is gone, by group; and the tensors that an optimizer step must not revive.

    The master copy is one bit a unit. The working copy is one float tensor for every parameter
    that has zeros, in the parameter's shape and dtype, so that holding is one fused
    multiplication and no boolean tensor stays resident.
    """

    def __init__(self) -> None:
        self._bits: dict[str, tuple[Tensor, int]] = {}
        self._working: dict[nn.Parameter, Tensor] = {}
        self._gains: dict[str, Tensor] = {}  # of single weights they are the working copy itself

    def __bool__(self) -> bool:
        return bool(self._bits)

    def record(self, gains: Mapping[Group, tuple[Structure, Tensor]]) -> None:
        """Take the master copy of a selection."""
        self._bits = {
            group.name: (pack(gain), group.size)
            for group, (structure, gain) in gains.items()
            if group.layers and structure.lasting
        }

    def gone(self, groups: list[Group]) -> dict[str, Tensor]:
        """By group, (n_units,) floats on its device, 0 where the unit is gone."""
        known = [group for group in groups if group.name in self._bits]
        return {group.name: self._flags(group) for group in known}

    def _flags(self, group: Group) -> Tensor:
        if group.name in self._gains:
            return self._gains[group.name]
        bits, size = self._bits[group.name]
        return unpack(bits, size, group.layers[0].weight.device)

    def use(self, gains: Mapping[Group, tuple[Structure, Tensor]], rescaled: bool = False) -> None:
        """Make the working copy from gains, one tensor for each parameter with zeros.

        Arguments:
            gains: By group.
            rescaled: Some are neither 0 nor 1; holding multiplies by 0 or 1 all the same.
        """
        working: dict[nn.Parameter, Tensor] = {}
        self._gains = {}
        for group, (structure, gain) in gains.items():
            if not isinstance(structure, Mask) or self._keeps_all(group, gain):
                continue
            flags = (gain != 0).float() if rescaled else gain
            self._gains[group.name] = flags
            for tensor, factor in structure.factors(group, flags):
                if isinstance(tensor, nn.Parameter):
                    like = factor.to(tensor.dtype)
                    working[tensor] = working[tensor] * like if tensor in working else like
        self._working = {p: f.expand_as(p).contiguous() for p, f in working.items()}

    def _keeps_all(self, group: Group, gain: Tensor) -> bool:
        """Whether nothing of the group is gone, by its packed bits, a 32nd of the gains to read."""
        if group.name not in self._bits:
            return not group.size or float(gain.amin()) != 0
        bits, size = self._bits[group.name]
        whole, rest = divmod(size, 8)
        lowest = int(bits.numpy()[:whole].min(initial=255))
        return lowest == 255 and bool(unpack(bits[whole:], rest).all())

    def release(self) -> None:
        """Hold nothing; the master copy stays."""
        self._working, self._gains = {}, {}

    def leave(self, names: Iterable[str]) -> None:
        """Keep the masks of these groups only, by their master copies; nothing is held."""
        self._bits = {name: self._bits[name] for name in names}
        self.release()

    def of(self, parameters: Iterable[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """The working masks of those parameters that have one."""
        return {p: self._working[p] for p in parameters if p in self._working}

    @property
    def held(self) -> Mapping[nn.Parameter, Tensor]:
        """Every parameter that has zeros, and its working mask."""
        return self._working

    def broken(self) -> list[nn.Parameter]:
        """Parameters in which a removed entry is not exactly 0."""
        return [p for p, m in self._working.items() if bool(p.detach()[m == 0].any())]

    @torch.no_grad()
    def apply(self) -> None:
        """Set every removed entry to 0."""
        if self._working:
            torch._foreach_mul_(list(self._working), list(self._working.values()))

    def state_dict(self) -> dict[str, Any]:
        """The master copy, in one tensor: in a file, a small one costs more than its bits."""
        parts = [bits for bits, _ in self._bits.values()]
        return {
            "names": list(self._bits),
            "sizes": [size for _, size in self._bits.values()],
            "bits": torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the master copy of a checkpoint."""
        sizes = [int(size) for size in state["sizes"]]
        parts = state["bits"].split([(size + 7) // 8 for size in sizes])
        loaded = dict(zip(state["names"], zip(parts, sizes, strict=True), strict=True))
        same = loaded.keys() == self._bits.keys() and all(
            torch.equal(bits, self._bits[name][0]) for name, (bits, _) in loaded.items()
        )
        if not same:  # a tuner restores in the middle of a fit what it saved there
            self.release()
        self._bits = loaded

    def check(self, groups: list[Group]) -> None:
        """Refuse masks that belong to another network.

        Raises:
            ValueError: A group is missing, or has another number of units.
        """
        sizes = {group.name: group.size for group in groups}
        for name, (_, size) in self._bits.items():
            if sizes.get(name) != size:
                found = f"{sizes[name]} units" if name in sizes else "no such layer"
                raise ValueError(
                    f"The checkpoint holds a mask of {size} units for {name!r}, and this network "
                    f"has {found}: it belongs to another model or another choice of layers."
                )
