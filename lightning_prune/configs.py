"""The configuration folder, and configs as the command line would build them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HERE = Path(__file__).resolve().parent

# in the wheel, or beside the package in a checkout
CONF = next((p for p in (HERE / "conf", HERE.parent / "conf") if p.is_dir()), HERE / "conf")


def compose(name: str = "train", *overrides: str) -> DictConfig:
    """A config as the command line would build it, for notebooks and tests.

    Arguments:
        name: An entry point of `conf/`.
        overrides: What would stand on the command line, such as `"method=filter_norm"`.

    Example:
        >>> compose("train", "schedule.keep=0.2").schedule.keep
        0.2
    """
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, list(overrides))
