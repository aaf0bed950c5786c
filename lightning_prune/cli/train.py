"""`lightning-prune`: train a network, prune it, compare it with a dense control.

Neither torch nor Lightning is imported before the config is composed and checked: help and
mistakes in the config are answered at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from lightning_prune.cli.checks import check
from lightning_prune.configs import CONF

if TYPE_CHECKING:
    from omegaconf import DictConfig

FULL = "HYDRA_FULL_ERROR"
ASKED = os.environ.get(FULL) == "1"  # for a traceback

# what users can do something about; Lightning's is known by name, to not import it here
MISTAKES = (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException)
LIGHTNING_MISTAKE = "MisconfigurationException"


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def job(cfg: DictConfig) -> float | None:
    """One run; returns the main metric of the pruned network, for sweepers that optimise it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode == RunMode.MULTIRUN:
        from lightning_prune.cli.sweep import Sweep

        return Sweep.current(cfg.name).run(cfg, folder)
    try:
        check(cfg, folder)
        return alone(cfg, folder, list(hydra_config.overrides.task))
    except Exception as error:
        with contextlib.suppress(OSError):
            os.removedirs(folder)  # only what is empty
        refuse(error)


def alone(cfg: DictConfig, folder: Path, overrides: list[str]) -> float | None:
    """A run of its own, which leaves the same rows as one of a sweep."""
    from lightning_prune.cli.identity import run_identity
    from lightning_prune.cli.rows import rows
    from lightning_prune.cli.run import run
    from lightning_prune.cli.stages import first_process
    from lightning_prune.folder import RunFolder

    started = time.time()
    metric = run(cfg, folder)
    if first_process():
        results, identity, ended = RunFolder(folder), run_identity(cfg), time.time()
        results.write_rows(rows(results.read_report(), overrides, identity))
        told = {"metric": metric, "seconds": ended - started, "ended": ended}
        results.write_status("finished", identity=identity, **told)
        if (folder / "shifts.csv").is_file():
            from rich.console import Console

            from lightning_prune.cli.outcome import show_potentials

            show_potentials(folder, cfg.evaluation.delta, Console())
    return metric


def main() -> None:
    """The entry point: mistakes are answered in one line, with a traceback if one is asked for."""
    os.environ[FULL] = "1"  # Hydra hands exceptions over, instead of printing them its own way
    try:
        job()
    except Exception as error:
        refuse(error)
    finally:
        if not ASKED:
            del os.environ[FULL]


def refuse(error: Exception) -> NoReturn:
    """End with one line for a mistake in what was asked for; anything else is raised again."""
    sentence = explain(error)
    if ASKED or sentence is None:
        raise error
    print(f"lightning-prune: {sentence}", file=sys.stderr)
    sys.exit(1)


def explain(error: BaseException) -> str | None:
    """One line for a mistake in what was asked for; None for what looks like a bug of ours."""
    told = error
    # Hydra wraps what a constructor says about its arguments
    while isinstance(told, InstantiationException) and isinstance(told.__cause__, MISTAKES):
        told = told.__cause__
    if not isinstance(told, MISTAKES) and type(told).__name__ != LIGHTNING_MISTAKE:
        return None
    # Hydra's list of folders says nothing about the mistake
    text = str(told).split("Config search path:")[0].replace("\n\t", ", ").replace(":, ", ": ")
    return " ".join(text.split())


if __name__ == "__main__":
    main()
