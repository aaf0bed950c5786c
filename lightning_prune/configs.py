"""The configuration folder, and configs as the command line would build them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HERE = Path(__file__).resolve().parent

# in the wheel, or beside the package in a checkout
CONF = next((p for p in (HERE / "conf", HERE.parent / "conf") if p.is_dir()), HERE / "conf")

# changes where a run writes, what it prints or measures in the end, but no number of its training
OUTPUT = {
    "name", "ckpt_path", "logger", "control", "share", "redo", "hydra", "evaluation",
}  # fmt: skip
# of trainer, task, data: where it runs and how fast
MACHINE = {
    "accelerator", "devices", "num_nodes", "strategy", "threads", "workers", "num_workers",
    "pin_memory", "persistent_workers", "prefetch_factor", "download", "default_root_dir",
    "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "enable_checkpointing",
}  # fmt: skip
PATHS = {"root", "path"}


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
