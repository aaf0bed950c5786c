"""Images of planar flows at the ends of cycles, in loggers that show figures."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from lightning_prune.evaluation.tight import TightFlow
from lightning_prune.training.callback import Pruning
from lightning_prune.training.images import is_drawn, writers

COARSE = 100  # points along each side of a density's plane; a figure is drawn while training waits


class PlanarImages(pl.Callback):
    """Draws density, field and samples of a flow of the plane before every event and at the end.

    It does nothing in a module whose `net` is no flow of the plane, and without a logger whose
    `experiment` has `add_figure`, as TensorBoard's has. A fit has at most 20 sets of images.

    Example:
        ```python
        pl.Trainer(callbacks=[Pruning(...), PlanarImages()], logger=TensorBoardLogger("logs"))
        ```
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if an event comes with the next epoch."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if not isinstance(callback, Pruning) or callback.schedule.unit != "epoch":
                continue
            now = trainer.current_epoch
            if callback.schedule.due(now, now + 1) is not None:
                done, planned = len(callback.events), len(callback.schedule.targets())
                if done == 0 or is_drawn(done, planned):
                    draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw what came of it."""
        draw(trainer, pl_module)


def draw(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Add the figures of the module's flow to the loggers that show them."""
    net: Any = getattr(module, "net", None)
    if getattr(net, "dims", None) != 2 or not hasattr(net, "log_prob") or not writers(trainer):
        return
    # matplotlib takes long to import, which runs without images need not wait for
    from lightning_prune.plots import Plane, plot_density, plot_field, plot_samples

    flows = {f"epoch {trainer.current_epoch}": TightFlow(net)}
    figures = {
        "density": plot_density(flows, plane=Plane(steps=COARSE)),
        "field": plot_field(flows),
        "samples": plot_samples(flows),
    }
    for writer in writers(trainer):
        for name, figure in figures.items():
            writer.add_figure(f"prune/{name}", figure, trainer.global_step)
