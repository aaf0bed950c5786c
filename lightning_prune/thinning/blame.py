"""Blame: which groups of a cut a forward does not follow, because a size is written into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lightning_prune.network.groups import Group
from lightning_prune.network.layers import plain_name
from lightning_prune.thinning.proof import Reference, difference


def blame(
    reference: Reference,
    expected: Mapping[str, list[Tensor]],
    groups: Iterable[Group],
) -> dict[Group, str]:
    """By group that was cut and should not have been, why.

    A forward that failed names the module in which it did; where it did not, the module that
    first computes something else, in the shape that it had, is named. The groups with a part in
    the smallest such module, or in the one around it that has any, are blamed.

    Arguments:
        reference: Of the model before the cut, which is made.
        expected: What its modules computed before.
        groups: That lost units.
    """
    found, failed, said = reference.modules()
    if failed is not None:
        return _within(failed, reference.model, groups, said.splitlines()[0] if said else "")
    for name, outputs in found.items():
        before = expected.get(name, [])
        same = [t.shape for t in before] == [t.shape for t in outputs]
        if same and before and difference(before, outputs) > reference.tolerance(rounded=True):
            return _within(name, reference.model, groups, "it computes something else")
    return {}


def alike(
    model: nn.Module, blamed: Mapping[Group, str], groups: Iterable[Group]
) -> dict[Group, str]:
    """Groups that play the part of a blamed one in another module of the same code.

    Only groups that lie within one module of a class that is not torch's own, and whose tensors
    have the same names there, are alike.

    Arguments:
        model: Their network.
        blamed: By group, why.
        groups: Others.
    """
    modules = {plain_name(name): module for name, module in model.named_modules()}
    roles = {role: why for group, why in blamed.items() if (role := _role(group, modules))}
    return {group: roles[role] for group in groups if (role := _role(group, modules)) in roles}


def _role(group: Group, modules: Mapping[str, nn.Module]) -> tuple[type, frozenset[str]] | None:
    """The class of the closest module around all of the group, and the names of its tensors."""
    paths = [[*part.name.split("."), part.tensor] for part in group.slices]
    shared = 0
    while all(len(path) > shared + 1 for path in paths) and len({p[shared] for p in paths}) == 1:
        shared += 1
    around = modules.get(".".join(paths[0][:shared]))
    if around is None or not shared or type(around).__module__.startswith("torch.nn"):
        return None
    names = frozenset(
        ".".join([*p[shared:], s.tensor]) for p, s in zip(paths, group.slices, strict=True)
    )
    return type(around), names


def _within(name: str, model: nn.Module, groups: Iterable[Group], said: str) -> dict[Group, str]:
    """The groups with a part in a module, or in the closest one around it."""
    cut = list(groups)
    parts = name.split(".") if name else []
    while True:
        within = ".".join(parts)
        inside = set(model.get_submodule(within).modules())
        blamed = [group for group in cut if any(p.module in inside for p in group.slices)]
        if blamed or not parts:
            shown = plain_name(within) or type(model).__name__
            why = f"the forward of {shown} does not follow its width"
            return dict.fromkeys(blamed, f"{why} ({said})" if said else why)
        parts.pop()
