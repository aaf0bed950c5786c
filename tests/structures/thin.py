"""The oracle: a network really built without the units that a selection removes."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from lightning_prune.network.graph import build_graph
from lightning_prune.network.heads import attention_layers, head_attributes
from lightning_prune.network.layers import find_layers, plain_name
from lightning_prune.structures import Filters
from lightning_prune.thinning.attention import SlimAttention


def random_gains(groups, keep, seed=0):
    """Random kept units, at least one a group."""
    generator = torch.Generator().manual_seed(seed)
    gains = {}
    for group in groups:
        draw = torch.rand(group.size, generator=generator)
        gains[group] = ((draw < keep) | (draw == draw.min())).float()
    return gains


def kept_indices(gains, name, tensor, dim, size):
    """Old indices of a tensor's dimension that the selection keeps."""
    left = torch.ones(size, dtype=torch.bool)
    for group, gain in gains.items():
        for part in group.slices:
            if (part.name, part.tensor, part.dim) == (name, tensor, dim):
                owned = part.units >= 0
                left[owned] &= gain[part.units[owned]] != 0
    return left.nonzero()[:, 0]


def thin(twin, gains):
    """Cut the units out of every tensor of `twin`, a copy of the traced network, in place."""
    modules = {plain_name(name): module for name, module in twin.named_modules()}
    touched = {(p.name, p.tensor, p.dim) for group in gains for p in group.slices}
    for name, tensor, dim in sorted(touched):
        old = getattr(modules[name], tensor)
        index = kept_indices(gains, name, tensor, dim, old.shape[dim])
        new = old.detach().index_select(dim, index)
        setattr(modules[name], tensor, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
    for module in [*twin.modules()]:
        fix_sizes(module)
        for name, child in module.named_children():
            if isinstance(child, nn.MultiheadAttention):
                heads = child.out_proj.weight.shape[1] // child.head_dim
                setattr(module, name, SlimAttention.from_attention(child, heads))
    for found in head_attributes(twin, list(gains)):
        gone = int((gains[found.group] == 0).sum())
        left = getattr(found.module, found.attribute) - gone * found.size
        setattr(found.module, found.attribute, left)
    return twin


def fix_sizes(module):
    if isinstance(module, _ConvNd):
        shape, transposed = module.weight.shape, isinstance(module, _ConvTransposeNd)
        if module.groups > 1:  # whole groups leave
            before = module.in_channels if transposed else module.out_channels
            module.groups = module.groups * shape[0] // before
        made, read = (shape[1], shape[0]) if transposed else (shape[0], shape[1])
        module.out_channels = made * (module.groups if transposed else 1)
        module.in_channels = read * (1 if transposed else module.groups)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.InstanceNorm2d):
        sized = module.running_mean if module.running_mean is not None else module.weight
        module.num_features = module.num_features if sized is None else len(sized)
    elif isinstance(module, nn.GroupNorm) and module.affine:  # whole groups leave
        module.num_groups = module.num_groups * len(module.weight) // module.num_channels
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)


def params(model):
    return sum(p.numel() for p in model.parameters())


def nonzero(model):
    return sum(int(p.count_nonzero()) for p in model.parameters())


def macs(model, x):
    """Of one sample, by torch's counter, which misses some fused attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() / 2 / len(x)


class Flops(TorchDispatchMode):
    """Torch's formulas alone: its counter cannot take gradients inside of a module."""

    def __init__(self, *only):
        super().__init__()
        self.total, self.only = 0, only

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        chosen = not self.only or func._opname in self.only
        if chosen and func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def macs_of_flow(model, x):
    with Flops() as counter:
        model(x)
    return counter.total / 2 / len(x)


def macs_of_products(model, x):
    """Of products of two activations, which have no parameter that a cost could count."""
    with sdpa_kernel(SDPBackend.MATH), Flops("bmm", "baddbmm") as counter:
        model(x)
    return counter.total / 2 / len(x)


def random_state(model, seed=0):
    """Random weights and statistics without a zero, so that every entry matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator).to(tensor) + 0.1)
                if "running_var" not in name:
                    tensor.sub_(0.55)
                tensor.masked_fill_(tensor == 0, 0.3)
    return model.double().eval()


def check_selection(
    make, x, keep=0.5, seed=0, layers=None, count=macs, products=lambda model, x: 0
):
    """Cost, non-zeros and outputs of a masked network equal those of the really thinned one."""
    model, twin = (random_state(make()) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    graph = build_graph(model, lambda: model(x), len(x))
    structure = Filters()
    chosen = find_layers(model, layers) + attention_layers(model)
    groups = structure.groups(graph.traced(chosen), lambda: graph)
    gains = random_gains(groups, keep, seed)
    full = {group: torch.ones(group.size) for group in groups}
    dense = params(model), count(model, x)
    assert graph.macs == dense[1]
    thin(twin, gains)
    if hasattr(twin, "repair"):
        twin.repair(gains)
    assert params(twin) == dense[0] - structure.cost(full, "params") + structure.cost(
        gains, "params"
    )
    apart = products(model, x) - products(twin, x)
    spared = structure.cost(full, "macs") - structure.cost(gains, "macs")
    assert count(twin, x) == dense[1] - spared - apart
    for group, gain in gains.items():
        structure.write(group, gain)
    assert nonzero(model) == params(twin)
    masked, thinned = model(x).detach(), twin(x).detach()
    scale = masked.abs().max()
    assert scale > 0
    assert bool((masked - thinned).abs().max() <= 1e-10 * scale)
    return groups
