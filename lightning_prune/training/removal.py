"""Removal: in a Trainer, units that were masked are taken out of the module and its optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import LayerFilter
from lightning_prune.network.network import Network
from lightning_prune.network.origin import Origin
from lightning_prune.thinning import Dead, Reference, shrink, sizes_of, take_shapes, take_sizes
from lightning_prune.thinning.cut import Cut
from lightning_prune.thinning.sizes import Sizes, changed

Shapes = dict[str, list[int]]  # by name of the tensor


@dataclass(frozen=True, eq=False)
class Removed:
    """What one event took out.

    Arguments:
        cut: Of the module.
        names: By name in the module's state, what stays of the tensor.
        refused: By group that stays masked, why.
    """

    cut: Cut
    names: Mapping[str, Mapping[int, Tensor]]
    refused: Mapping[str, str]


class Removal:
    """What was taken out of a module in training, and how a fresh one gets as thin.

    Attributes:
        origin: Of the network before anything was removed; None: nothing was.
    """

    def __init__(self) -> None:
        self.origin: Origin | None = None
        # numbers of modules and shapes of tensors that changed, unsaved buffers too; what they
        # are now, and what they were at first
        self._numbers: Sizes = {}
        self._shapes: Shapes = {}
        self._first_numbers: Sizes = {}
        self._first_shapes: Shapes = {}
        self._module: nn.Module | None = None

    def follow(self, module: nn.Module) -> RemovableHandle:
        """Until `leave`, a state that is loaded makes the module as thin as it is."""
        self._module = module
        return module.register_load_state_dict_pre_hook(_before_loading)

    def leave(self) -> None:
        """Let go of the module."""
        self._module = None

    def network(self, module: nn.Module, layers: LayerFilter) -> Network:
        """The module as pruning sees it: shares are of what it was."""
        network = Network(module, layers)
        network.origin = self.origin
        return network

    def remove(
        self, network: Network, gone: Mapping[Group, Tensor], run: Callable[[], Any]
    ) -> Removed:
        """Take units out of a network.

        Arguments:
            network: Traced, masked.
            gone: By group, (n_units,) bool.
            run: Runs it once on an example.

        Raises:
            ValueError: The network computes something else without them, and no layer is to
                blame; it is as it was.
        """
        module, origin = network.model, self.origin or _origin(network)
        before, numbers = _tensors(module), sizes_of(module)
        done = shrink(Dead(_one_left(gone)), Reference(module, run))
        after, dims = _tensors(module), done.cut.dims
        names = {name: dims[tensor] for name, tensor in before.items() if tensor in dims}
        for name in names:
            self._first_shapes.setdefault(name, list(before[name].shape))
            self._shapes[name] = list(after[name].shape)
        for name, own in changed(numbers, sizes_of(module)).items():
            for key, value in own.items():
                if key in numbers[name]:
                    first = self._first_numbers.setdefault(name, {})
                    first.setdefault(key, numbers[name][key])
                self._numbers.setdefault(name, {})[key] = value
        self.origin = origin
        return Removed(done.cut, names, {g.name: why for g, why in done.refused.items()})

    def state_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts; empty if nothing was removed."""
        if self.origin is None:
            return {}
        numbers = {
            name: {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
            for name, own in self._numbers.items()
        }
        return {"origin": self.origin.to_dict(), "numbers": numbers, "shapes": dict(self._shapes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.origin = Origin.from_dict(state["origin"]) if state else None
        self._numbers = dict(state["numbers"]) if state else {}
        self._shapes = dict(state["shapes"]) if state else {}
        if self._module is not None:  # its weights are loaded before; the rest follows here
            take_shapes(self._module, self._first_shapes | self._shapes)
            take_sizes(self._module, self._first_numbers)
            take_sizes(self._module, self._numbers)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the module behind."""
        return self.__dict__ | {"_module": None}


def _before_loading(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    take_shapes(module, {n: t for n, t in state.items() if isinstance(t, Tensor)}, prefix)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer under every name, also those that no state has."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _one_left(gone: Mapping[Group, Tensor]) -> dict[Group, Tensor]:
    """No group is emptied: of one that is gone as a whole, the first unit stays."""
    left = {group: flags.cpu().clone() for group, flags in gone.items()}
    for flags in left.values():
        if bool(flags.all()):
            flags[0] = False
    return left


def _origin(network: Network) -> Origin:
    """The sizes of a network of which nothing was taken yet."""
    graph = network.traced()
    rows = {
        layer.name: {
            "units": layer.weight.shape[layer.out_dim],
            "params": layer.weight.numel(),
            "macs": layer.positions * layer.weight.numel() if graph else None,
        }
        for layer in network.layers
    }
    return Origin(network.params, graph.macs if graph else None, rows)
