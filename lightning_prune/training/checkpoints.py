"""Checkpoints: whether a file is whole, and which one to resume from."""

from __future__ import annotations

import warnings
from pathlib import Path

from lightning_prune.damage import damage


def check_checkpoint(path: str | Path) -> Path:
    """The path, if it is a whole checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is torn, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    if (wrong := damage(path)) is not None:
        raise ValueError(
            f"The checkpoint {str(path)!r} cannot be used: {wrong}; take an earlier one."
        )
    return path


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in a folder or below it; torn ones are named and skipped."""
    found = sorted(
        Path(folder).rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in found:
        if (wrong := damage(path)) is None:
            return path
        warnings.warn(f"Skipping the checkpoint {str(path)!r}: {wrong}.", stacklevel=2)
    return None
