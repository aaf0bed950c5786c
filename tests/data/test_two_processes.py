"""Two processes in a Trainer share the samples, and their metrics are those of all samples."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import functools, json, sys
import pytorch_lightning as pl, torch
from lightning_prune.data import Synthetic
from lightning_prune.models import LeNet300
from lightning_prune.tasks import Classification


class Watch(pl.Callback):
    seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.seen.append((trainer.current_epoch, batch[0].sum((1, 2, 3)).tolist()))

    def on_train_end(self, trainer, module):
        val = module.trainer.datamodule.sets["val"]
        images, labels = val.__getitems__(range(len(val)))
        right = (module.net(images).argmax(1) == labels).float().mean()
        logged = trainer.callback_metrics["val/accuracy"]
        with open(f"{sys.argv[1]}/{trainer.global_rank}.json", "w") as file:
            json.dump({"seen": self.seen, "logged": float(logged), "right": float(right)}, file)


torch.manual_seed(0)
data = Synthetic((1, 4, 4), classes=4, samples=100, noise=3.0, batch_size=10)
task = Classification(LeNet300(16, 4, (8,)), functools.partial(torch.optim.SGD, lr=0.1), classes=4)
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
pl.Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, callbacks=[Watch()],
           enable_model_summary=False, **quiet).fit(task, data)
"""


@pytest.mark.slow
def test_two_processes_share_the_samples_and_the_metrics(tmp_path):
    # a fresh process, since neither autograd nor OpenMP survive a fork once they were used
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for epoch in (0, 1):
        shares = [
            [value for at, values in rank["seen"] if at == epoch for value in values]
            for rank in (first, second)
        ]
        assert [len(share) for share in shares] == [40, 40]
        assert len(set(shares[0] + shares[1])) == 80  # every training image once
    assert first["seen"][0] != first["seen"][4]
    assert first["logged"] == second["logged"] == pytest.approx(first["right"])
    assert first["right"] == second["right"]
