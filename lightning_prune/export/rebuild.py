"""Rebuild: a dense network from the config that a folder names, if it is of packages we know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

KNOWN = ("lightning_prune.", "torchvision.models.", "timm.")


def rebuild(config: Mapping[str, Any] | None) -> nn.Module:
    """The network that a config of Hydra describes.

    A file must not be able to run just anything: only names of known packages are called, and
    only what these packages define themselves.

    Raises:
        ValueError: There is no config, it names something else, or it gives no network.
    """
    if not config:
        raise ValueError("it has no config of the dense network; pass it as module=...")
    for name in targets(config):
        _check(name)
    if any("${" in text for text in _texts(config)):
        raise ValueError("its config is not resolved; pass the dense network as module=...")
    from hydra.utils import instantiate

    try:
        made = instantiate(dict(config))
    except Exception as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"its dense network cannot be built ({why}); pass it as module=..."
        ) from error
    if not isinstance(made, nn.Module):
        raise ValueError("its config gives no network; pass the dense network as module=...")
    return made


def targets(config: Any) -> Iterator[Any]:
    """All that a config calls."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield config["_target_"]
        config = list(config.values())
    if isinstance(config, list | tuple):
        for entry in config:
            yield from targets(entry)


def _check(name: Any) -> None:
    from hydra.utils import get_object

    if isinstance(name, str) and name.startswith(KNOWN):
        try:
            home = str(getattr(get_object(name), "__module__", ""))
        except Exception as error:
            raise ValueError(f"{name} cannot be found; pass the network as module=...") from error
        # a package also leads to what it imports, such as the modules of python
        if f"{home}.".startswith(KNOWN):
            return
    raise ValueError(
        f"its dense network calls {name!r}, and a file may only call what is of "
        f"{', '.join(known.rstrip('.') for known in KNOWN)}; pass the network as module=..."
    )


def _texts(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        yield config
    if isinstance(config, Mapping):
        config = list(config.values())
    if isinstance(config, list | tuple):
        for entry in config:
            yield from _texts(entry)
