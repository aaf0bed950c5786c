"""Layers of every kind with an input, and sensitivities by definition."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.network.layers import Layer, find_layers

KINDS = {
    "linear": lambda: (nn.Linear(7, 4), (6, 7)),
    "tokens": lambda: (nn.Linear(5, 4), (2, 3, 2, 5)),
    "one vector": lambda: (nn.Linear(5, 4), (5,)),
    "conv1d": lambda: (nn.Conv1d(3, 4, 3, padding=1), (3, 3, 7)),
    "conv2d": lambda: (nn.Conv2d(3, 4, 3), (3, 3, 6, 5)),
    "conv3d": lambda: (nn.Conv3d(2, 3, 2, padding=1), (2, 2, 3, 4, 3)),
    "no batch": lambda: (nn.Conv2d(3, 4, 3), (3, 6, 5)),
    "stride": lambda: (nn.Conv2d(3, 4, 3, stride=(2, 3), padding=1), (3, 3, 7, 8)),
    "unread border": lambda: (nn.Conv2d(3, 4, 2, stride=2), (3, 3, 7, 5)),
    "dilation": lambda: (nn.Conv2d(3, 4, 3, dilation=(2, 1), padding=(0, 2)), (3, 3, 7, 6)),
    "uneven kernel": lambda: (nn.Conv2d(3, 4, (1, 3), padding=(0, 1)), (3, 3, 5, 6)),
    "same, asymmetric": lambda: (nn.Conv2d(3, 4, (2, 4), padding="same"), (3, 3, 5, 6)),
    "valid": lambda: (nn.Conv2d(3, 4, 3, padding="valid"), (3, 3, 5, 6)),
    "reflect": lambda: (nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"), (3, 3, 5, 6)),
    "circular": lambda: (
        nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="circular", stride=2),
        (3, 3, 5, 6),
    ),
    "replicate, same": lambda: (
        nn.Conv1d(3, 4, 4, padding="same", padding_mode="replicate"),
        (3, 3, 8),
    ),
    "pointwise": lambda: (nn.Conv2d(3, 4, 1, stride=2), (3, 3, 5, 6)),
    "grouped": lambda: (nn.Conv2d(4, 6, 3, groups=2, padding=1), (3, 4, 5, 6)),
    "depthwise": lambda: (nn.Conv2d(4, 8, 3, groups=4, padding=1, stride=2), (3, 4, 7, 6)),
    "transposed": lambda: (nn.ConvTranspose2d(3, 4, 3), (3, 3, 4, 5)),
    "transposed, all at once": lambda: (
        nn.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(3, 0), output_padding=(1, 2), dilation=(2, 1),
            groups=2,
        ),
        (2, 4, 5, 4),
    ),
    "transposed 1d": lambda: (nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1), (3, 3, 6)),
    "transposed 3d": lambda: (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 2, 3, 2)),
}  # fmt: skip


def drawn(kind: str, dtype: torch.dtype = torch.float64) -> tuple[Layer, Tensor]:
    """A layer with weights of both signs and some zeros, and signed inputs."""
    module, shape = KINDS[kind]()
    module.to(dtype)
    with torch.no_grad():
        module.weight.copy_(torch.randn_like(module.weight))
        module.weight.masked_fill_(torch.rand_like(module.weight) < 0.1, 0)
    (layer,) = find_layers(nn.Sequential(module))
    return layer, torch.randn(shape, dtype=dtype)


def by_definition(layer: Layer, value: Tensor, patches: str, kernel: str = "max") -> Tensor:
    """One forward of the layer itself for every weight alone: what it adds to each output."""
    module, weight = layer.module, layer.weight
    spatial = weight.dim() - 2
    batched = value if value.dim() == weight.dim() or not spatial else value[None]
    bias, module.bias = module.bias, None
    found = torch.zeros_like(weight)
    try:
        for sign, half in itertools.product((1, -1), (1, -1)):
            inputs, signed = (batched * sign).clamp_min(0), (weight * half).clamp_min(0)
            added = _added(layer, inputs, signed)  # (weights, samples, outputs, patches)
            total = added.sum(0)
            floor = 1e-6 * total.amax(-1, keepdim=True) if spatial else 0
            share = torch.where(total > floor, added / total, 0)
            share = share.nan_to_num(0)
            if kernel == "sum" and spatial:
                flat = share.unflatten(0, (*weight.shape[:2], -1))
                share = flat.sum(2, keepdim=True).expand_as(flat).flatten(0, 2)
            reduced = share.mean(-1) if patches == "mean" else share.amax(-1)
            # a weight feeds one output; of a joint share both halves of the kernel count
            best = reduced.amax((1, 2)).view_as(weight)
            found = torch.maximum(found, best)
    finally:
        module.bias = bias
        layer.parameter.data = weight
    return found


def _added(layer: Layer, inputs: Tensor, signed: Tensor) -> Tensor:
    rows = []
    for index in range(signed.numel()):
        alone = torch.zeros_like(signed).flatten()
        alone[index] = signed.flatten()[index]
        layer.parameter.data = alone.view_as(signed)
        with torch.no_grad():
            outputs = layer.module(inputs)
        if signed.dim() == 2:
            outputs = outputs.reshape(-1, outputs.shape[-1])
        rows.append(outputs.flatten(2) if outputs.dim() > 2 else outputs[..., None])
    return torch.stack(rows)


def by_unfolding(module: nn.Conv2d, inputs: Tensor, patches: str) -> Tensor:
    """The published algorithm: image by image, filter by filter, on unfolded patches."""
    best = torch.zeros_like(module.weight)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(inputs, module._reversed_padding_repeated_twice, mode)
    per_group = module.out_channels // module.groups
    for image in padded:
        for index, row in enumerate(module.weight.detach()):
            group = index // per_group
            channels = image.unflatten(0, (module.groups, -1))[group]
            unfolded = F.unfold(
                channels[None], module.kernel_size, dilation=module.dilation, stride=module.stride
            )[0]
            for sign in (1, -1):
                active = (sign * unfolded).clamp_min(0)
                for half in (1, -1):
                    products = (half * row.flatten()).clamp_min(0)[:, None] * active
                    total = products.sum(0)
                    there = total > 1e-6 * total.max()
                    share = torch.where(there, products / total, 0).nan_to_num(0)
                    reduced = share.mean(1) if patches == "mean" else share.amax(1)
                    best[index] = torch.maximum(best[index].detach(), reduced.view_as(row))
    return best.detach()
