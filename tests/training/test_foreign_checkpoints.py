"""Checkpoints of other runs: what is refused, what is taken up; and the scores of our own."""

import pytest
import pytorch_lightning as pl
import torch
from cases import EPOCHS, STEPS, Case, files
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import QUIET, Data, Net, fit

from lightning_prune import LayerFilter, Pruning, Rewind, Steps


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a pruned run's checkpoints, saved after every third step."""
    folder = tmp_path_factory.mktemp("written")
    case = Case("magnitude", Rewind(0, weights=True))
    case.fit(seed=0, callbacks=case.callbacks(folder))
    return folder


class Other(Net):
    """Half of the layers have other names, and it loads what it knows."""

    strict_loading = False

    def __init__(self, width=8):
        super().__init__()
        self.head = torch.nn.Linear(self.net[-1].in_features, 4)
        del self.net[-1]

    def forward(self, images):
        return self.head(self.net(images))


WEIGHTS = Rewind(0, weights=True)
FOREIGN = {
    "another method": (lambda: Pruning("random", EPOCHS, rewind=WEIGHTS), Net, "pruned with"),
    "the control": (lambda: Pruning("none", EPOCHS, rewind=WEIGHTS), Net, "the same method"),
    "other layers": (
        lambda: Pruning("magnitude", EPOCHS, layers=LayerFilter(exclude="net.0"), rewind=WEIGHTS),
        Net,
        r"the state of Pruning and none of Pruning\[LayerFilter.*the same layers",
    ),
    "another model": (
        lambda: Pruning("magnitude", EPOCHS, rewind=WEIGHTS),
        Other,
        "a mask of 32 units for 'net.10'.*no such layer.*another model",
    ),
    "a wider model": (
        lambda: Pruning("magnitude", EPOCHS, rewind=WEIGHTS),
        lambda: Net(10),
        "size mismatch",
    ),
    "another rewind": (
        lambda: Pruning("magnitude", EPOCHS, rewind=Rewind(1)),
        Net,
        r"keeps weights, .* of time 0.*Rewind\(to=1, .*resume with the rewind",
    ),
}


@pytest.mark.parametrize("which", FOREIGN)
def test_a_foreign_checkpoint_is_refused_before_training_starts(which, written):
    make, net, message = FOREIGN[which]
    module = net()
    pruning = make()
    pruning.history.verbose = pruning.verbose = False
    with pytest.raises((ValueError, RuntimeError), match=f"(?s){message}") as refused:
        fit(pruning, seed=0, net=module, resume=written / "step=9-step.ckpt")
    assert module.losses == []
    if refused.type is ValueError:
        assert str(refused.value).count(". ") == 0


def test_a_control_does_not_become_a_pruned_run_after_its_events(tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=9)
    Case("none").fit(seed=0, callbacks=[saver])
    net = Net()
    with pytest.raises(ValueError, match="pruned with None, and this run prunes with Method"):
        fit(Case("magnitude").pruning(), seed=0, net=net, resume=saver.best_model_path)
    assert net.losses == []


def test_a_checkpoint_from_before_the_first_event_takes_any_method(written):
    run = fit(Pruning("random", EPOCHS, verbose=False), seed=0, resume=written / "step=3-step.ckpt")
    assert [event["keep_target"] for event in run["events"]] == [0.7, 0.5, 0.3]
    assert run["losses"][0][:2] == (0, 3)


@pytest.mark.parametrize(
    ("schedule", "step", "when"),
    [
        (EPOCHS, 8, [(2, 8, 0.5), (3, 12, 0.3)]),
        (EPOCHS, 10, [(2, 10, 0.5), (3, 12, 0.3)]),
        (STEPS, 8, [(2, 8, 0.5), (2, 10, 0.3)]),
        (STEPS, 11, [(2, 11, 0.3)]),
    ],
)
def test_a_checkpoint_without_our_state_gets_the_due_event_at_once(schedule, step, when, tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=3, callbacks=[saver], **QUIET)
    trainer.fit(Net(), datamodule=Data())
    file = next(file for file in files(tmp_path) if file.stem == f"step={step}")
    rewind = Rewind(0, weights=True)
    run = fit(Pruning("magnitude", schedule, rewind=rewind, verbose=False), seed=7, resume=file)
    events = [(event["epoch"], event["step"], event["keep_target"]) for event in run["events"]]
    assert events == when
    late = [text for text in run["warnings"] if text.startswith("Rewind(to=0) goes back to")]
    assert len(late) == 1
    # to the weights of that time, since there are no others
    first, saved = run["after"]["1"], torch.load(file, weights_only=True)["state_dict"]
    kept = first["net.5.weight"] != 0
    assert torch.equal(first["net.5.weight"][kept], saved["net.5.weight"][kept])


# validated without the callbacks that trained it, as anyone may
@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_a_score_belongs_to_the_weights_it_was_saved_with(at_epoch_end, tmp_path):
    every = Steps(dict.fromkeys(range(1, 5), 0.5) | {1: 0.9, 2: 0.7})
    saver = ModelCheckpoint(
        tmp_path, "{epoch}-{val_loss:.8f}", "val_loss", save_top_k=-1,
        save_on_train_epoch_end=at_epoch_end,
    )  # fmt: skip
    pruning = Pruning("magnitude", every, rewind=Rewind(0, weights=True), verbose=False)
    run = fit(pruning, seed=0, callbacks=[saver])
    found = list(tmp_path.glob("*.ckpt"))
    assert len(found) == 5
    scores = set()
    for file in found:
        fresh = pl.Trainer(accelerator="cpu", enable_checkpointing=False, **QUIET)
        (result,) = fresh.validate(Net(), datamodule=Data(), ckpt_path=file, verbose=False)
        assert f"{result['val_loss']:.8f}" == file.stem.split("val_loss=")[1]
        scores.add(result["val_loss"])
    assert len(scores) == 5
    assert {event["metrics"]["val_loss"] for event in run["events"]} <= scores
