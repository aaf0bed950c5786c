"""Averaged weights are as sparse as the weights they are averages of."""

import lightning.pytorch as lit
import lightning.pytorch.callbacks as lit_callbacks
import pytest
import torch
from classifiers import QUIET, SIZE, Learner, Scored, convolutional, fit, loader, nonzero, trainer
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)

from lightning_prune import Pruning, Rewind, Steps

EVENTS = Steps({1: 0.6, 3: 0.3})
LEFT = [int(SIZE * keep) for keep in (0.6, 0.3)]
AVERAGES = {
    "ema": lambda: EMAWeightAveraging(decay=0.9),
    "every second step": lambda: EMAWeightAveraging(decay=0.9, update_every_n_steps=2),
    "mean": WeightAveraging,
    "swa": lambda: StochasticWeightAveraging(0.02, swa_epoch_start=2, annealing_epochs=1),
}


class Watch(Callback):
    """Non-zeros of what is validated, by epoch."""

    def __init__(self):
        self.validated = {}

    def on_validation_batch_end(self, trainer, module, *_):
        if not trainer.sanity_checking:
            self.validated[trainer.current_epoch] = nonzero(module.parameters())


def pruning(**options):
    return Pruning("magnitude", EVENTS, verbose=False, **options)


def in_order(average, prune, first):
    return [average, prune] if first == "average" else [prune, average]


@pytest.mark.parametrize("first", ["average", "pruning"])
@pytest.mark.parametrize("kind", AVERAGES)
def test_what_is_validated_saved_and_left_has_the_target(kind, first, tmp_path):
    watch, module = Watch(), Scored()
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    callbacks = in_order(AVERAGES[kind](), pruning(), first)
    fit(module, *callbacks, watch, saver, max_epochs=5, enable_checkpointing=True)
    assert watch.validated == {0: SIZE, 1: LEFT[0], 2: LEFT[0], 3: LEFT[1], 4: LEFT[1]}
    for epoch, left in watch.validated.items():
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
        assert nonzero(saved["state_dict"].values()) == left
        current = saved.get("current_model_state", saved["state_dict"])
        assert nonzero(current.values()) == left
    assert nonzero(module.parameters()) == LEFT[1]


@pytest.mark.parametrize("first", ["average", "pruning"])
def test_what_is_left_is_the_average_and_not_the_last_weights(first):
    last = []

    class Last(Callback):
        def on_train_epoch_end(self, trainer, module):
            last.append([p.detach().clone() for p in module.parameters()])

    module = Scored()
    fit(module, *in_order(EMAWeightAveraging(decay=0.9), pruning(), first), Last(), max_epochs=5)
    assert any(not torch.equal(p, q) for p, q in zip(module.parameters(), last[-1], strict=True))


@pytest.mark.parametrize("first", ["average", "pruning"])
def test_stochastic_averaging_with_its_extra_epoch_for_batch_norm(first):
    """It renews the running means in an epoch of its own, in which no optimizer steps."""
    module = Scored(convolutional())
    size = sum(p.numel() for p in module.parameters())
    callback = pruning()
    run = trainer(*in_order(AVERAGES["swa"](), callback, first), max_epochs=5)
    run.fit(module, loader(shape=(1, 8, 8)), loader(32, (1, 8, 8)))
    assert run.current_epoch == 6
    assert [event["epoch"] for event in callback.events] == [1, 3]
    assert nonzero(module.parameters()) == int(0.3 * size)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.parametrize("first", ["average", "pruning"])
def test_averages_continue_sparse_after_a_resume(first, tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    callbacks = in_order(EMAWeightAveraging(decay=0.9), pruning(), first)
    fit(Scored(), *callbacks, saver, max_epochs=4, enable_checkpointing=True)
    watch, module = Watch(), Scored()
    callbacks = in_order(EMAWeightAveraging(decay=0.9), pruning(), first)
    run = trainer(*callbacks, watch, max_epochs=5)
    path = tmp_path / "epoch=1.ckpt"
    run.fit(module, loader(), loader(32), ckpt_path=path, weights_only=True)
    assert watch.validated == {2: LEFT[0], 3: LEFT[1], 4: LEFT[1]}
    assert nonzero(module.parameters()) == LEFT[1]


@pytest.mark.parametrize("first", ["average", "pruning"])
def test_averages_stay_sparse_when_weights_are_rewound(first):
    watch, module = Watch(), Scored()
    callback = pruning(rewind=Rewind(to=0, weights=True))
    callbacks = in_order(EMAWeightAveraging(decay=0.9), callback, first)
    fit(module, *callbacks, watch, max_epochs=5)
    assert watch.validated == {0: SIZE, 1: LEFT[0], 2: LEFT[0], 3: LEFT[1], 4: LEFT[1]}


class Other(Learner, lit.LightningModule):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))


@pytest.mark.parametrize("first", ["average", "pruning"])
def test_averages_of_the_other_package(first):
    module = Other()
    average = lit_callbacks.EMAWeightAveraging(decay=0.9)
    validated = []

    class See(lit_callbacks.Callback):
        def on_validation_batch_end(self, trainer, module, *_):
            validated.append(nonzero(module.parameters()))

    run = lit.Trainer(
        callbacks=[*in_order(average, pruning(), first), See()],
        max_epochs=4,
        num_sanity_val_steps=0,
        **QUIET,
    )
    run.fit(module, loader(), loader(16))
    assert validated == [SIZE, LEFT[0], LEFT[0], LEFT[1]]
    assert nonzero(module.parameters()) == LEFT[1]
