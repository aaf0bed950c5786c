"""All benchmarks, one after the other: `python tests/benchmarks [names] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import warnings
from pathlib import Path

import event
import flow
import gradual
import low_rank
import memory
import sipp
import thin
import torch
import upkeep


def main() -> None:
    """Run, print, and write what was found if asked."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help="event, upkeep, gradual, memory, sipp, sipp_max, flow, low_rank, thin; none: all",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    runs = {
        "event": (event.measure, event.show),
        "upkeep": (lambda: {case: upkeep.measure(case) for case in upkeep.CASES}, upkeep.show),
        "gradual": (lambda: {case: gradual.measure(case) for case in gradual.CASES}, gradual.show),
        "memory": (memory.measure, memory.show),
        "sipp": (lambda: {case: sipp.measure(case) for case in sipp.CASES}, sipp.show),
        "flow": (flow.measure, flow.show),
        "sipp_max": (lambda: {"max": sipp.measure_max()}, sipp.show),
        "low_rank": (low_rank.run, low_rank.show),
        "thin": (thin.run, thin.show),
    }
    if unknown := set(arguments.names) - set(runs):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(runs)}")
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    found: dict[str, object] = {"torch": torch.__version__, "python": platform.python_version()}
    for name in arguments.names or runs:
        measure, show = runs[name]
        figures = measure()
        show(figures)
        found[name] = figures
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
