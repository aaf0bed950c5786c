import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from lightning_prune.data import Digits
from lightning_prune.models import LeNet300, ResNet
from lightning_prune.tasks import Classification

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def net():
    return LeNet300(64, hidden=(32,))


def trainer(epochs, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, **{**quiet, **options}
    )


@pytest.fixture(scope="module")
def digits():
    return Digits()


def test_it_learns_and_logs_what_can_be_recomputed(digits):
    torch.manual_seed(0)
    task, run = Classification(net(), SGD), trainer(3)
    run.fit(task, digits)
    assert set(run.callback_metrics) == {
        f"{part}/{name}" for part in ("train", "val") for name in ("loss", "accuracy")
    }
    assert run.callback_metrics["val/accuracy"] > 0.9
    tested = run.test(task, digits, verbose=False)[0]
    assert set(tested) == {"test/loss", "test/accuracy"}
    task.eval()
    for which, logged in (("val", run.validate(task, digits, verbose=False)[0]), ("test", tested)):
        images, labels = digits.sets[which].__getitems__(range(len(digits.sets[which])))
        with torch.no_grad():
            logits = task(images)
        # batches of unequal size must count by their size; float32 sums in another order
        assert logged[f"{which}/loss"] == pytest.approx(
            torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
        )
        assert logged[f"{which}/accuracy"] == pytest.approx(
            (logits.argmax(1) == labels).float().mean().item()
        )


def test_metrics_start_afresh_every_epoch(digits):
    seen = []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            seen.append([float(metric.update_count) for metric in module.metrics.values()])

    trainer(2, callbacks=[Watch()]).fit(Classification(net(), SGD), digits)
    assert seen == [[0.0] * 6] * 2


def test_a_step_works_without_a_trainer(digits):
    digits.setup()
    loss = Classification(net(), SGD).training_step(next(iter(digits.train_dataloader())), 0)
    loss.backward()
    assert loss > 0


@pytest.mark.parametrize(("interval", "steps"), [("epoch", 2), ("step", 18)])
def test_the_scheduler_steps_by_epoch_or_by_step(digits, interval, steps):
    scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task, run = Classification(net(), SGD, scheduler, interval=interval), trainer(2)
    run.fit(task, digits)
    assert run.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5**steps  # 9 batches an epoch


def test_a_plateau_scheduler_watches_the_validation_loss(digits):
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, threshold=1e9)
    run = trainer(3)
    run.fit(Classification(net(), SGD, plateau), digits)
    assert run.optimizers[0].param_groups[0]["lr"] < 0.1


def test_label_smoothing_is_for_training_only(digits):
    digits.setup()
    batch = next(iter(digits.train_dataloader()))
    task = Classification(net(), SGD, label_smoothing=0.5)
    plain = Classification(task.net, SGD)
    assert task.training_step(batch, 0) != plain.training_step(batch, 0)
    assert task.validation_step(batch, 0) == plain.validation_step(batch, 0)


def test_a_loss_that_blew_up_is_logged_as_such(digits):
    run = trainer(1, limit_train_batches=2)
    task = Classification(net(), SGD)
    torch.nn.init.constant_(task.net.layers[0].weight, float("nan"))
    run.fit(task, digits)
    assert torch.isnan(run.callback_metrics["train/loss"])
    assert torch.isnan(run.callback_metrics["val/loss"])


def test_the_checkpoint_holds_the_network_only(digits, tmp_path):
    scheduler = partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[1])
    task, run = Classification(net(), SGD, scheduler), trainer(1)
    run.fit(task, digits)
    run.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {f"net.{name}" for name in task.net.state_dict()}
    assert not checkpoint.get("hyper_parameters")
    copy.deepcopy(task)


def test_it_declares_its_main_metric():
    assert (Classification.main_metric, Classification.direction) == ("accuracy", "max")


def test_a_network_with_other_classes_is_refused_before_training(digits):
    task = Classification(ResNet(8, (4, 4, 4), classes=7, channels=1), SGD)
    with pytest.raises(ValueError, match=r"10 classes .* logits of \(128, 7\) .* classes=10"):
        trainer(1).fit(task, digits)
    assert task.trainer.global_step == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes": 1}, "at least 2 classes"),
        ({"interval": "batch"}, '"epoch" or "step"'),
        ({"label_smoothing": 1.5}, r"in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Classification(net(), SGD, **options)
