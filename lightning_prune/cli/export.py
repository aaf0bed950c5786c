"""`lightning-prune-export`: what a run has pruned, as files that are really smaller.

Torch is not imported before the arguments are read: help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lightning_prune.cli.checks import short
from lightning_prune.cli.train import ASKED, explain
from lightning_prune.training.checkpoints import check_checkpoint, latest_checkpoint

if TYPE_CHECKING:
    from omegaconf import DictConfig

NAME = "lightning-prune-export"
FORMATS = ("thin", "onnx", "program")


class Parser(argparse.ArgumentParser):
    """Answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """End with the line."""
        print(f"{NAME}: {message}; --help lists what there is", file=sys.stderr)
        sys.exit(1)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = Parser(
        prog=NAME,
        description="Write the network of a run as a thin module, as ONNX and as a program of "
        "torch; compare their size, speed and test metric with the dense and the masked network.",
    )
    add = made.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a run of lightning-prune")
    add("--output", type=Path, metavar="DIR", help="where files go (RUN/export)")
    add("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="which ones (all)")
    add("--checkpoint", type=Path, metavar="FILE", help="of the run (the final, or the latest)")
    add("--device", default="cpu", help="where torch measures and tests (cpu)")
    add("--opset", type=int, help="of ONNX (the exporter's choice)")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: mistakes are answered in one line, with a traceback if one is asked for."""
    given = parser().parse_args(arguments)
    try:
        cfg = read_config(given.run)
        checkpoint = find_checkpoint(given.run, given.checkpoint)
        output = given.output or given.run / "export"
        if output.exists() and not output.is_dir():
            raise NotADirectoryError(f"{output} is no folder; give --output=DIR.")

        from lightning_prune.cli.run import quiet
        from lightning_prune.cli.shipping import ship

        with quiet():
            ship(cfg, given.run, checkpoint, output, given.formats, given.device, given.opset)
    except Exception as error:
        sentence = explain(error)
        if ASKED or sentence is None:
            raise
        print(f"{NAME}: {sentence}", file=sys.stderr)
        sys.exit(1)


def read_config(folder: Path) -> DictConfig:
    """The config that a run wrote down.

    Raises:
        FileNotFoundError: There is no folder, or no run in it.
        ValueError: The file is no config of a run.
    """
    from omegaconf import DictConfig, OmegaConf

    path = folder / "config.yaml"
    if not path.is_file():
        what = f"it has no {path.name}" if folder.is_dir() else "there is no such folder"
        inner = sorted(folder.glob("**/config.yaml"))
        hint = f", such as {short(inner[0].parent)}" if inner else ""
        raise FileNotFoundError(
            f"{short(folder)} is no folder of a run, because {what}; give the one that "
            f"lightning-prune wrote{hint}."
        )
    try:
        cfg = OmegaConf.load(path)
    except Exception as error:  # whatever a parser of yaml raises
        raise ValueError(f"{short(path)} is torn ({type(error).__name__}).") from error
    needed = ("task", "data", "trainer", "method", "schedule")
    if not isinstance(cfg, DictConfig) or any(key not in cfg for key in needed):
        raise ValueError(f"{short(path)} is no config of a run of lightning-prune.")
    return cfg


def find_checkpoint(folder: Path, given: Path | None) -> Path:
    """The checkpoint asked for; else the final one, or the latest of a run that was interrupted.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is torn.
    """
    if given is not None:
        return check_checkpoint(given)
    own = folder / "checkpoints"
    if (own / "final.ckpt").is_file():
        return check_checkpoint(own / "final.ckpt")
    latest = latest_checkpoint(own) if own.is_dir() else None
    if latest is None:
        raise FileNotFoundError(
            f"The run in {short(folder)} has no whole checkpoint yet; let it go on with "
            "ckpt_path=last, or give --checkpoint=FILE."
        )
    return latest


if __name__ == "__main__":
    main()
