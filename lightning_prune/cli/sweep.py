"""A sweep: every run is done once, a broken one is named, and all of them end in one table.

Neither torch nor Lightning is imported here before a run has to be done.
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from lightning_prune.cli.checks import check, short
from lightning_prune.cli.identity import evaluation_identity, run_identity
from lightning_prune.folder import COLUMNS, RunFolder, find_runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omegaconf import DictConfig

# overrides that are no settings of the run, or have a column already
UNTOLD = {"experiment", "ckpt_path", "redo", "share", "name", "threads", "control", *COLUMNS}
PLAN = "sweep.json"


@dataclass(frozen=True)
class Sweep:
    """The runs of one command with `-m`, and of earlier ones with the same name.

    Arguments:
        root: The folder that all of them lie in, with the table.
        number: Of this run in its command, from 1.
    """

    root: Path
    number: int

    @classmethod
    def current(cls, name: str) -> Sweep:
        """That of the job that Hydra is at."""
        hydra = HydraConfig.get()
        return cls(Path(hydra.sweep.dir).absolute() / name, int(hydra.job.num) + 1)

    def run(self, cfg: DictConfig, folder: Path) -> float | None:
        """Do the run, unless it is finished; go on with it, if it was killed.

        Returns:
            The main metric of the pruned network on the test set; None where the run is broken,
            which is then named, and its reason kept in the run's folder.
        """
        results = RunFolder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # the same run twice in one command is done once
            before, identity = results.read_status(), run_identity(cfg)
            same = before.get("identity") == identity and not cfg.redo
            finished = same and before["status"] == "finished"
            started = time.time()
            if same and not finished and any((folder / "checkpoints").glob("*.ckpt")):
                cfg.ckpt_path = "last"
            try:
                if finished:
                    told = "evaluated" if self._again(cfg, folder) else "finished already"
                    self._say(f"{self._label()}: {told}")
                    return before["metric"]
                self._check(cfg, folder)
                results.write_status("running", identity=identity)
                metric = self._train(cfg, folder)
            except Exception as error:
                self._fail(results, identity, error)
                if not _goes_on():
                    raise
                return None
            seconds, ended = time.time() - started, time.time()
            results.write_status(
                "finished", identity=identity, metric=metric, seconds=seconds, ended=ended
            )
        self.collect()
        self._say(f"{self._label()}: {_told(results.read_report())}, {seconds:.0f} s")
        return metric

    def _again(self, cfg: DictConfig, folder: Path) -> bool:
        """Evaluate a finished run on what was not asked for before; whether there was any."""
        if evaluation_identity(cfg) is None:
            return False
        from lightning_prune.cli.run import evaluate_finished

        return evaluate_finished(cfg, folder, self.root)

    def _check(self, cfg: DictConfig, folder: Path) -> None:
        check(cfg, folder)
        devices = cfg.trainer.get("devices", 1)
        if isinstance(devices, int) and devices > 1:
            raise ValueError(
                "A run of a sweep has one process; run it alone for trainer.devices="
                f"{devices}, or sweep with trainer.devices=1 and a parallel launcher."
            )

    def _train(self, cfg: DictConfig, folder: Path) -> float | None:
        from lightning_prune.cli.rows import rows
        from lightning_prune.cli.run import run

        metric = run(cfg, folder, self.root)
        results = RunFolder(folder)
        overrides = list(HydraConfig.get().overrides.task)
        results.write_rows(rows(results.read_report(), overrides, run_identity(cfg)))
        return metric

    def _fail(self, results: RunFolder, identity: str, error: Exception) -> None:
        from lightning_prune.cli.train import explain

        sentence = explain(error) or f"{type(error).__name__}: {error}"
        told = {"label": self._label(), "sentence": sentence, "ended": time.time()}
        results.write_status("failed", identity=identity, **told)
        (results.path / "error.txt").write_text("".join(traceback.format_exception(error)))
        self._say(f"{self._label()} is broken: {sentence}")

    def plan(self, runs: int | None, varied: Sequence[str]) -> None:
        """Say, before the first run, how many there will be.

        Arguments:
            runs: Their number; None: nobody knows.
            varied: The keys that differ between them.
        """
        plan = {"runs": runs, "varied": list(varied), "started": time.time()}
        RunFolder(self.root).write_json(PLAN, plan)
        count = "an open number of" if runs is None else str(runs)
        print(f"{count} runs in {short(self.root)}", flush=True)

    def collect(self) -> Path:
        """Write the table of all finished runs, as a whole."""
        from lightning_prune.table import curves

        target = self.root / "table.csv"
        with FileLock(self.root / "table.lock"):
            temporary = target.with_suffix(".tmp")
            curves(self.root).to_csv(temporary, index=False, lineterminator="\n")
            os.replace(temporary, target)
        return target

    def failures(self) -> dict[str, str]:
        """By what tells it from the others, why a run is broken."""
        found = {run: RunFolder(run).read_status() for run in find_runs(self.root)}
        return {
            status["label"]: status["sentence"]
            for run, status in found.items()
            if status["status"] == "failed"
        }

    def _label(self) -> str:
        """What tells the run from the others."""
        varied = RunFolder(self.root).read_json(PLAN).get("varied", [])
        given = list(HydraConfig.get().overrides.task)
        return " ".join(each for each in given if each.partition("=")[0] in varied) or given[-1]

    def _say(self, text: str) -> None:
        plan = RunFolder(self.root).read_json(PLAN)
        planned = plan.get("runs")
        place = f"{self.number:>{len(str(planned))}}/{planned}" if planned else f"{self.number}"
        left = self._seconds_left(plan)
        print(
            f"[{place}] {text}{'' if left is None else f'; about {_time(left)} left'}", flush=True
        )

    def _seconds_left(self, plan: Mapping[str, Any]) -> float | None:
        """From the pace since the command began; parallel jobs make it by themselves."""
        if not plan.get("runs") or self.number >= plan["runs"]:
            return None
        ends = [RunFolder(run).read_status().get("ended", 0) for run in find_runs(self.root)]
        done = sum(end > plan["started"] for end in ends)
        pace = (time.time() - plan["started"]) / done if done else None
        return None if pace is None else pace * (plan["runs"] - self.number)


def swept_settings(overrides: list[str]) -> dict[str, str]:
    """What a command set, by key, without what every row says already."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    given = {each.get_key_element().lstrip("+~"): each for each in parsed}
    return {
        key: each.get_value_element_as_str()
        for key, each in given.items()
        if key not in UNTOLD and not key.startswith(("hydra", "data.root", "evaluation"))
    }


def _goes_on() -> bool:
    """Hydra's own sweeper ends at the first error that it sees; others count them."""
    return HydraConfig.get().sweeper._target_.endswith("BasicSweeper")


def _told(report: Mapping[str, Any]) -> str:
    metric = report["extra"].get("main_metric")
    value = (report["final"] or {}).get("metrics", {}).get(metric)
    control = ((report["control"] or {}).get("metrics") or {}).get(metric)
    text = "no test metric" if value is None else f"{metric} {value:.4f}"
    return text + ("" if control is None else f" (control {control:.4f})")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
