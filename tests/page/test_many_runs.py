"""A thousand runs: they are read one at a time, so that memory does not grow with their reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pages import report

RUNS, SEEDS, METHODS = 1000, 3, 10
EVENTS, LAYERS = 10, 60
GIB = 2**30
MOST = 2 * GIB
MOST_READ = 0.2 * GIB


def write_many(root: Path) -> Path:
    """Runs of some hundred settings; all are one text with other names and numbers in it."""
    keeps = tuple(0.8**number for number in range(1, EVENTS + 1))
    layers = tuple(f"net.blocks.{number // 4}.layer{number % 4}" for number in range(LAYERS))
    made = report("METHOD", 424242, keeps=keeps, layers=layers, method__criterion__p=313131)
    text = json.dumps(made, indent=2)
    for number in range(RUNS):
        curve, seed = divmod(number, SEEDS)
        own = text.replace("METHOD", f"method{curve % METHODS}").replace("424242", str(seed))
        own = own.replace("313131", str(curve)).replace("0.9", f"0.{9000 - number}")
        folder = root / f"p={curve}" / str(seed)
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(own)
        status = {"status": "finished", "identity": f"{number:012x}"}
        (folder / "run.json").write_text(json.dumps(status))
    return root


CODE = """
import json, sys, time

def peak():
    # getrusage of a process that was forked from a large one begins with that one's
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

started = time.process_time()
from lightning_prune.page.reading import read_runs
runs = len(read_runs([sys.argv[1]]).records)
told = {"runs": runs, "read": peak(), "read_seconds": time.process_time() - started}
from lightning_prune.page import write_report
started = time.process_time()
write_report(sys.argv[1], sys.argv[2])
print(json.dumps(told | {"page": peak(), "page_seconds": time.process_time() - started}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_a_thousand_runs_fit_into_memory(tmp_path: Path):
    root = write_many(tmp_path / "runs")
    command = [sys.executable, "-c", CODE, str(root), str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["runs"] == RUNS
    assert told["read"] < MOST_READ
    assert told["page"] < MOST
    page = (tmp_path / "report" / "index.html").read_text()
    assert "200 of 334 curves are drawn one by one" in page
    assert "The first 2000 of 3340 rows; the file has all." in page
