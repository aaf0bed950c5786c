"""Heads: the numbers in a module that say how many heads its forward splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import Layer, plain_name

# names that the field's libraries give to the number of heads, of queries or of keys and values
HEADS = (
    "heads",
    "num_heads",
    "n_heads",
    "n_head",
    "nhead",
    "num_attention_heads",
    "kv_heads",
    "num_kv_heads",
    "n_kv_heads",
    "n_kv_head",
    "num_key_value_heads",
)
# and to that of all heads' channels together
WIDTHS = ("all_head_size", "inner_dim", "attn_dim", "attention_dim", "hidden_dim", "proj_dim")


@dataclass(frozen=True, eq=False)
class HeadCount:
    """An attribute that grows with a group's heads.

    Arguments:
        module: That has it.
        name: Qualified name of the module.
        attribute: Name of the attribute in it.
        heads: Units along the makers' rows; every one that leaves takes `size` off the attribute.
        size: What a unit adds: 1 for a number of heads, the size of one for their width.
        group: Whose units the heads are.
    """

    module: nn.Module
    name: str
    attribute: str
    heads: int
    size: int
    group: Group


def attention_layers(model: nn.Module) -> list[Layer]:
    """The projections of torch's attention modules, which `find_layers` leaves alone, as layers.

    With them `Graph.groups` offers heads: rows of the projection, and columns of `out_proj`. A
    module whose keys or values are of another width than its queries has three of them, with one
    name. Other classes with such tensors say `has_heads = True`.
    """
    return [
        Layer(plain_name(name), module, tensor)
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention) or getattr(module, "has_heads", False)
        for tensor in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        if module._parameters.get(tensor) is not None
    ]


def head_attributes(model: nn.Module, groups: Sequence[Group]) -> list[HeadCount]:
    """Numbers of heads, and their widths, that have to change when heads are cut out.

    A group's units are heads if every one has several rows of linear layers, all of them children
    or grandchildren of one module. Its attributes of the field's names count if their value fits:
    a multiple of the units, as where several heads of queries share keys and values; of widths,
    units times the rows or columns of one.

    Arguments:
        model: With modules of the names that the groups' slices have.
        groups: Of the traced network.
    """
    modules = {plain_name(name): module for name, module in model.named_modules()}
    return [found for group in groups for found in _of_group(modules, group)]


def _of_group(modules: dict[str, nn.Module], group: Group) -> Iterator[HeadCount]:
    made, read = _rows(group, 0), _rows(group, 1)
    if not made:
        return
    counts = {total // of_one for total, of_one in made.values()}
    if len(counts) != 1:
        return
    (count,) = counts
    most = max(of_one for _, of_one in made.values())
    widths = {of_one for _, of_one in (*made.values(), *read.values())}
    for parent in _parents(list(made)):
        found = []
        for attribute in HEADS + WIDTHS:
            value = vars(modules.get(parent, nn.Identity())).get(attribute)
            if type(value) is not int or value < count or value % count:
                continue
            size = value // count
            if size in widths if attribute in WIDTHS else most % size == 0:
                module = modules[parent]
                found.append(HeadCount(module, parent, attribute, count, size, group))
        if any(each.attribute in HEADS for each in found):
            yield from found
            return


def _rows(group: Group, dim: int) -> dict[str, tuple[int, int]]:
    """By linear layer, its rows or columns in all and those of one unit, if they are several."""
    found = {}
    for part in group.slices:
        linear = isinstance(part.module, nn.Linear) and part.tensor == "weight"
        if linear and part.dim == dim and part.units is not None:
            of_one = int((part.units == 0).sum())
            if of_one > 1 and len(part.units) % of_one == 0:
                found[part.name] = (len(part.units), of_one)
    return found


def _parents(names: Sequence[str]) -> list[str]:
    """Modules of which all these are children or grandchildren, the nearest first."""
    above = []
    for name in names:
        parts = name.split(".")
        above.append([".".join(parts[:-depth]) for depth in (1, 2) if depth <= len(parts)])
    return [parent for parent in above[0] if all(parent in other for other in above)]
