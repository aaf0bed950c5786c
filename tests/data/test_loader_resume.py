"""Training resumed in a Trainer from any checkpoint equals the uninterrupted run, bit for bit."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_prune.data import CropFlip, ResumableLoader, TensorImages

# resumed without the callbacks that wrote the checkpoints, on purpose
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*callbacks used to create the checkpoint", "ignore:.*multi-threaded, use of fork"
)


class Data(pl.LightningDataModule):
    def __init__(self, workers=0):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (50, 1, 4, 4), dtype=torch.uint8, generator=draw)
        labels = torch.randint(0, 3, (50,), generator=draw)
        # scaled to about 1 by hand, so that training does not blow up
        options = {"mean": torch.tensor([128.0]), "std": torch.tensor([74.0])}
        self.train = TensorImages(images, labels, augment=CropFlip(1, True), **options)
        self.val = TensorImages(images[:20], labels[:20], **options)
        self.options = {"num_workers": workers, "persistent_workers": workers > 0}

    def train_dataloader(self):
        return ResumableLoader(self.train, batch_size=10, shuffle=True, **self.options)

    def val_dataloader(self):
        return ResumableLoader(self.val, batch_size=10)


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(16, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Linear(8, 3),
        )
        self.losses = {}

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses[self.current_epoch, batch_idx] = loss.item()
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("loss", F.cross_entropy(self.net(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)]


def fit(seed, folder=None, checkpoint=None, workers=0, **options):
    torch.manual_seed(seed)
    callbacks = []
    if folder:
        keep = {"dirpath": folder, "save_top_k": -1}
        steps = ModelCheckpoint(filename="{step}-step", every_n_train_steps=1, **keep)
        ends = ModelCheckpoint(filename="{step}-end", save_on_train_epoch_end=True, **keep)
        # a monitor tells its state from that of `ends`
        validated = ModelCheckpoint(
            filename="{step}-val", monitor="loss", save_on_train_epoch_end=False, **keep
        )
        callbacks = [steps, ends, validated]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=bool(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    net = Net()
    trainer.fit(net, datamodule=Data(workers), ckpt_path=checkpoint)
    return net


def steps_of(file):
    return int(file.stem.split("-")[0].removeprefix("step="))


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (0, {}),
        (1, {}),
        (0, {"limit_train_batches": 3}),
        (0, {"val_check_interval": 2}),
        (0, {"accumulate_grad_batches": 2}),
    ],
)
def test_a_run_resumed_from_any_checkpoint_is_the_uninterrupted_one(tmp_path, workers, options):
    straight = fit(0, tmp_path, workers=workers, **options)
    files = sorted(tmp_path.glob("*.ckpt"), key=steps_of)
    kinds = {file.stem.split("-")[1] for file in files}
    assert kinds == {"step", "end", "val"}
    torch.load(files[0], weights_only=True)
    for file in files if workers == 0 else files[1::4]:
        resumed = fit(7, checkpoint=file, workers=workers, **options)
        done = steps_of(file) * options.get("accumulate_grad_batches", 1)
        done -= (
            done // 6 if "accumulate_grad_batches" in options else 0
        )  # the fifth batch of an epoch is alone
        assert list(resumed.losses.items()) == list(straight.losses.items())[done:], file.name
        for (name, a), b in zip(
            straight.state_dict().items(), resumed.state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), (file.name, name)


def test_without_the_state_of_the_loader_the_runs_differ(tmp_path, monkeypatch):
    straight = fit(0, tmp_path)
    file = next(file for file in tmp_path.glob("*-step.ckpt") if steps_of(file) == 7)
    monkeypatch.setattr(ResumableLoader, "load_state_dict", lambda self, state: None)
    assert not torch.equal(straight.net[1].weight, fit(7, checkpoint=file).net[1].weight)
