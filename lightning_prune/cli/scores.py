"""Scores: what a checkpoint is worth on the test set, and what it costs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_prune.cli.experiment import Experiment, Stage
from lightning_prune.evaluation.size import call, measure_sizes, one_thread
from lightning_prune.export import export_factors, input_sizes, load_pruned, slower_layers, tell
from lightning_prune.folder import RunFolder
from lightning_prune.lowrank import factored
from lightning_prune.network.batches import example_batch, network_input
from lightning_prune.thinning import thin


class Scores:
    """Tests and measures checkpoints of a run.

    Arguments:
        experiment: The run; it gives the network, the test set and a Trainer that only tests.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.data = experiment.data()
        self.trainer = experiment.evaluator()

    def load(self, checkpoint: Path) -> pl.LightningModule:
        """The network of a checkpoint, factors as layers; nothing in the file is executed."""
        task = self._loaded(checkpoint)
        with warnings.catch_warnings():  # what stays factored is tested as well
            warnings.simplefilter("ignore", UserWarning)
            export_factors(task, inplace=True)
        return task

    def slices(self, checkpoint: Path) -> str | None:
        """Where slices of factored layers cost time, in one sentence; None: there are none."""
        task = self._loaded(checkpoint).eval()
        if not any(True for _ in factored(task)):
            return None
        with one_thread():
            sizes = input_sizes(task, lambda: call(task, self._example()))
            return tell(slower_layers(task, sizes)) or None

    def _loaded(self, checkpoint: Path) -> pl.LightningModule:
        task = self.experiment.task()
        load_pruned(checkpoint, task)
        return task

    def test(self, task: pl.LightningModule) -> dict[str, float]:
        """The metrics of the test set; empty where there is none."""
        if not self._has_test():
            return {}
        found = self.trainer.test(task, datamodule=self.data, verbose=False)
        return {name: float(value) for part in found for name, value in part.items()}

    def compare(
        self, checkpoints: dict[str, Path], shared: dict[str, Path], masked: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """Size, latency and test metrics of several checkpoints; latencies are interleaved.

        Arguments:
            checkpoints: By name.
            shared: By name of a network that several runs share, the folder that remembers its
                metrics, so that it is tested once.
            masked: Name of a network with filters at zero: what it costs without them is said
                too, under `thin`; or why they cannot leave, under `thin_refused`.
        """
        tasks = {name: self.load(path) for name, path in checkpoints.items()}
        metrics = {
            name: self._remember(shared[name], task) if name in shared else self.test(task)
            for name, task in tasks.items()
        }
        small, refused = self._thin(checkpoints[masked]) if masked in checkpoints else (None, None)
        networks = [*tasks.values(), *([] if small is None else [small])]
        sizes = measure_sizes(networks, self._example())
        found: dict[str, dict[str, Any]] = {
            name: {**size, "metrics": metrics[name]}
            for name, size in zip(tasks, sizes, strict=False)
        }
        if masked in found:
            told = {"thin": sizes[-1]} if small is not None else {"thin_refused": refused}
            found[masked] |= told
        return found

    def _thin(self, checkpoint: Path) -> tuple[pl.LightningModule | None, str | None]:
        """The network of a checkpoint without the filters that are zero; or why it has them."""
        task = self.load(checkpoint).eval()
        with warnings.catch_warnings():  # what stays masked is measured as well
            warnings.simplefilter("ignore", UserWarning)
            try:
                thin(task, self._example(), inplace=True)
            except ValueError as error:
                return None, str(error)
        return task, None

    def _remember(self, folder: Path, task: pl.LightningModule) -> dict[str, float]:
        """The metrics that lie in the folder, else those of a test that is written there."""
        results = RunFolder(folder)
        known = results.read_report()["final"]
        if known is None:
            known = results.update_report(final={"metrics": self.test(task)})["final"]
        return known["metrics"]

    def cycles(self, stage: Stage, events: int) -> list[dict[str, float]]:
        """The metrics of a stage at the end of the cycle that every event began.

        Those of a stage that runs share are remembered in its folder.

        Arguments:
            stage: Finished.
            events: How many there were.
        """
        results = RunFolder(stage.folder)
        known = results.read_report()["extra"].get("cycles") if stage.shared else None
        if known is None or len(known) != events:
            ends = [stage.cycle(number) for number in range(1, events)] + [stage.final]
            known = [self.test(self.load(end)) if end.is_file() else {} for end in ends]
            if stage.shared:
                results.update_report(extra={"cycles": known})
        return known

    def _has_test(self) -> bool:
        return type(self.data).test_dataloader is not pl.LightningDataModule.test_dataloader

    def _example(self) -> Any:
        self.data.prepare_data()
        self.data.setup("fit")
        return network_input(example_batch(self.data.train_dataloader()))
