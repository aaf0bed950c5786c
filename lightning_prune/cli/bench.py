"""`lightning-prune-bench`: how fast networks are, dense, masked and thin, side by side.

Torch is not imported before the arguments are read: help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_prune.cli.subjects import Subject

NAME = "lightning-prune-bench"
KINDS = "a folder of a run, a folder of a thin module, or torchvision:NAME@PIXELS"


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(
        prog=NAME,
        description="Measure parameters, multiply-adds, bytes, latency and memory of networks "
        "before and after pruning, by turns on this machine, and say why what is no faster is not.",
    )
    add = made.add_argument
    add("subjects", nargs="+", metavar="RUN_OR_MODEL", help=KINDS)
    add("--batches", nargs="+", type=int, default=[1, 16], help="samples of a forward (1 16)")
    add("--threads", type=int, default=1, help="of torch (1)")
    add("--repeats", type=int, default=30, help="rounds that count (30)")
    add("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    add("--keep", type=float, help="prune a torchvision model to this share of its parameters")
    add("--method", default="filter_norm", help="with --keep: how (filter_norm)")
    add("--output", type=Path, metavar="FILE.csv", help="write all rows")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: mistakes are answered in one line."""
    given = parser().parse_args(arguments)
    try:
        bench(given)
    except Exception as error:
        from lightning_prune.cli.train import explain

        sentence = explain(error)
        if sentence is None:
            raise
        print(f"{NAME}: {sentence}", file=sys.stderr)
        sys.exit(1)


def bench(given: argparse.Namespace) -> None:
    """Measure every subject, show it, and write it down.

    Raises:
        ValueError: An argument is out of its range, or is no subject.
        FileNotFoundError: A folder is missing.
    """
    _check(given)
    from lightning_prune.cli.run import quiet
    from lightning_prune.cli.speed import measured, show, write
    from lightning_prune.cli.subjects import subject

    rows: list[dict] = []
    with quiet():
        for text in given.subjects:
            found: Subject = subject(text, given.method, given.keep)
            own, notes = measured(
                found,
                batches=given.batches,
                repeats=given.repeats,
                threads=given.threads,
                device=given.device,
            )
            show(found.title, own, notes)
            if found.results is not None:
                write(found.results.path / "speed.csv", own)
                found.results.update_report(extra={"speed": own, "speed_notes": notes})
            rows += own
    if given.output is not None:
        write(given.output, rows)


def _check(given: argparse.Namespace) -> None:
    """What can be known before torch is imported."""
    for name, least in (("batches", 1), ("threads", 1), ("repeats", 2)):
        value = getattr(given, name)
        if min(value if isinstance(value, list) else [value]) < least:
            raise ValueError(f"--{name} takes whole numbers from {least} on, not {value}.")
    if given.keep is not None and not 0 < given.keep <= 1:
        raise ValueError(f"--keep is a share in (0, 1], not {given.keep:g}.")
    if given.output is not None and not given.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {given.output.parent} to write into.")
    for text in given.subjects:
        kind(text)


def kind(text: str) -> str:
    """`torchvision`, `thin` or `run`.

    Raises:
        ValueError: It is none of them.
        FileNotFoundError: There is no such folder.
    """
    if text.startswith("torchvision:"):
        name, _, pixels = text.removeprefix("torchvision:").partition("@")
        if not name or not pixels.isdecimal() or int(pixels) < 1:
            raise ValueError(
                f"{text!r} is no torchvision:NAME@PIXELS, as torchvision:resnet18@224."
            )
        return "torchvision"
    folder = Path(text)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {text}; give {KINDS}.")
    if (folder / "widths.json").is_file():
        return "thin"
    if (folder / "config.yaml").is_file():
        return "run"
    raise ValueError(
        f"The folder {text} holds neither a run (config.yaml) nor a thin module (widths.json)."
    )


if __name__ == "__main__":
    main()
