"""What goes wrong with Lightning's own `ModelPruning`, defect by defect, does not go wrong here.

Each test has the number of its defect in a list of sixteen, found in version 2.6.6.
"""

import copy
import socket

import pytest
import torch
import torch.nn.functional as F
from classifiers import Classifier, Probe, Scored, convolutional, fit, loader, nonzero, trainer
from processes import in_new_processes
from pytorch_lightning.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from pytorch_lightning.loggers import CSVLogger
from rewound import (
    KEEP,
    LEFT,
    SIZE,
    assert_rewound,
    one_of_two,
    pruning,
    seeded,
    weights_after_events,
)
from torch import nn

from lightning_prune import OneShot, Pruning, Rewind, Steps

pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")


def saved(folder, **options):
    return ModelCheckpoint(folder, save_last=True, **options)


def test_01_the_hello_world_keeps_its_target_and_its_score():
    """Theirs: all but one of 2,434 weights are zero after 20 epochs, and accuracy is a coin's."""
    module = seeded(0)
    fit(module, pruning(OneShot(1, keep=0.5)), max_epochs=20, data=loader(256))
    x, y = next(iter(loader(256, batch_size=256)))
    assert nonzero(module.parameters()) == SIZE // 2
    assert (module(x).argmax(1) == y).float().mean() > 0.9


def test_02_a_resume_keeps_the_masks(tmp_path):
    """Theirs: sparsity 0.80 is 0.00 two epochs later, without a word."""
    straight = seeded(0)
    fit(straight, pruning(), max_epochs=5)
    fit(seeded(0), pruning(), saved(tmp_path), max_epochs=3, enable_checkpointing=True)
    resumed = seeded(1)
    trainer(pruning(), max_epochs=5).fit(resumed, loader(), ckpt_path=tmp_path / "last.ckpt")
    assert nonzero(resumed.parameters()) == LEFT
    assert all(map(torch.equal, resumed.parameters(), straight.parameters()))


def test_03_a_checkpoint_of_a_pruned_module_loads_wherever_the_module_does(tmp_path):
    """Theirs, not made permanent: missing key weight, unexpected key weight_orig."""
    module = seeded(0)
    fit(module, pruning(), saved(tmp_path), enable_checkpointing=True)
    loaded = Classifier.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert nonzero(loaded.parameters()) == LEFT
    fresh = seeded(1)
    trainer(pruning(), max_epochs=3).fit(fresh, loader(), ckpt_path=tmp_path / "last.ckpt")
    for one in (loaded, fresh):
        assert all(map(torch.equal, one.parameters(), module.parameters()))


def test_04_after_a_resume_it_rewinds_to_the_weights_of_the_run(tmp_path):
    """Theirs: to what the new process drew."""
    tickets = {"schedule": Steps({1: 0.5, 3: KEEP}), "rewind": Rewind(to=0, weights=True)}
    module = seeded(0)
    initial = copy.deepcopy(module.state_dict())
    every = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    fit(module, pruning(**tickets), every, max_epochs=4, enable_checkpointing=True)
    second, between = pruning(**tickets), tmp_path / "epoch=1.ckpt"
    seen, probe = weights_after_events(second)
    trainer(second, probe, max_epochs=4).fit(seeded(1), loader(), ckpt_path=between)
    assert len(second.events) == 2
    assert_rewound(seen[2], initial)


def test_05_it_rewinds_to_the_same_weights_every_time():
    """Theirs: only the first time, then the copy shares its memory with the live weights."""
    callback = pruning(Steps({1: 0.6, 2: 0.4, 3: KEEP}), rewind=Rewind(to=0, weights=True))
    module = seeded(0)
    initial = copy.deepcopy(module.state_dict())
    seen, probe = weights_after_events(callback)
    fit(module, callback, probe, max_epochs=4)
    for event in (1, 2, 3):
        assert_rewound(seen[event], initial)
    assert nonzero(seen[3].values()) == LEFT


@pytest.mark.slow
@pytest.mark.multiprocess
def test_06_processes_without_a_seed_have_the_same_masks_and_weights(tmp_path):
    """Theirs: copies to rewind to are made before rank 0's weights are sent; ranks diverge."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, other = in_new_processes([(one_of_two, 0, port), (one_of_two, 1, port)], tmp_path)
    assert not torch.equal(one["start"], other["start"])
    for event in ("1", "2"):
        mine, yours = one["after"][event], other["after"][event]
        assert all(map(torch.equal, mine.values(), yours.values()))
    assert all(map(torch.equal, one["end"].values(), other["end"].values()))
    assert torch.equal(one["after"]["0"]["net.0.weight"], one["start"])
    assert_rewound(one["after"]["2"], one["after"]["0"])
    assert nonzero(one["end"].values()) == LEFT


AVERAGING = {
    "ema": lambda: EMAWeightAveraging(decay=0.5),
    "swa": lambda: StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2),
}


@pytest.mark.parametrize("first", [True, False], ids=["pruning first", "average first"])
@pytest.mark.parametrize("kind", AVERAGING)
def test_07_averages_do_not_crash(kind, first):
    """Theirs: sizes of tensors differ, because pruning reorders the parameters."""
    module, both = Classifier(), [pruning(), AVERAGING[kind]()]
    fit(module, *(both if first else both[::-1]), max_epochs=4)
    assert nonzero(module.parameters()) == LEFT


def test_08_averages_are_sparse_where_shapes_agree_too():
    """Theirs: the pruned layer is silently dense again."""
    square = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    module = Classifier(square)
    fit(module, pruning(OneShot(1, keep=0.5)), EMAWeightAveraging(decay=0.5), max_epochs=4)
    assert nonzero(module.parameters()) == 64


def test_09_a_module_can_be_copied_while_it_trains():
    """Theirs: only leaves of the graph can be deep-copied."""
    probe = Probe("on_train_batch_end", lambda _, module: copy.deepcopy(module.net))
    module = Classifier()
    fit(module, pruning(), probe)
    assert len(probe.seen) == 12
    assert all(map(torch.equal, probe.seen[-1].parameters(), module.net.parameters()))


def test_10_a_callback_can_be_fitted_again_and_keeps_accumulate():
    """Theirs: an error, or 20 % sparsity after three times 20 %."""
    module, again = Classifier(), pruning(OneShot(0, keep=0.8))
    gone = {}
    for _ in range(2):
        fit(module, again)
        assert nonzero(module.parameters()) == int(0.8 * SIZE)
    for keep in (0.8, 0.8**2, 0.8**3):
        fit(module, pruning(OneShot(0, keep=keep)))
        assert nonzero(module.parameters()) == int(keep * SIZE)
        zero = {name: p == 0 for name, p in module.named_parameters()}
        assert all(zero[name][flags].all() for name, flags in gone.items())
        gone = zero


def test_11_norms_and_biases_are_left_alone():
    """Theirs: every shift of a batch norm is zero at 50 %."""
    module = Classifier(convolutional())
    never = {n: p for n, p in module.named_parameters() if p.dim() == 1}
    touched = Probe("on_train_batch_end", lambda *_: [n for n, p in never.items() if not p.all()])
    with torch.no_grad():
        for parameter in never.values():
            parameter.add_(0.1)
    fit(module, pruning(), touched, data=loader(shape=(1, 8, 8)))
    assert list(never) == ["net.1.weight", "net.1.bias", "net.3.bias", "net.6.bias"]
    assert touched.seen == [[]] * 12


def test_12_structured_pruning_works_as_it_comes():
    """Theirs: an error about parameters of one dimension."""
    module = Classifier(convolutional())
    callback = Pruning("filter_norm", OneShot(1, keep=0.5), verbose=False)
    fit(module, callback, data=loader(shape=(1, 8, 8)))
    gone = ~module.net[0].weight.flatten(1).any(1)
    assert gone.any()
    assert not module.net[1].weight[gone].any()
    assert nonzero(module.parameters()) == callback.events[0]["left"]


def test_13_a_buffer_called_attn_mask_harms_no_checkpoint(tmp_path):
    """Theirs: KeyError 'attn_orig'."""
    module = Classifier()
    module.register_buffer("attn_mask", torch.ones(3, 3).tril())
    fit(module, pruning(), saved(tmp_path), enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert list(state) == list(module.state_dict())
    assert torch.equal(state["attn_mask"], torch.ones(3, 3).tril())


@pytest.mark.filterwarnings("ignore:.*before the last pruning event")
def test_14_a_score_in_the_name_of_a_file_is_that_of_its_weights(tmp_path):
    """Theirs: the weights were pruned between their validation and their saving."""
    best = saved(tmp_path, monitor="val_loss", save_top_k=-1, filename="{epoch}-{val_loss:.6f}")
    fit(Scored(), pruning(Steps({1: 0.5, 2: KEEP})), best, enable_checkpointing=True)
    assert len(best.best_k_models) == 3
    for path, score in best.best_k_models.items():
        module = Scored.load_from_checkpoint(path, weights_only=True)
        fresh = trainer().validate(module, loader(32), verbose=False)[0]["val_loss"]
        assert fresh == pytest.approx(score.item(), abs=1e-7)
        assert f"val_loss={fresh:.6f}" in path


class Failing(Classifier):
    def training_step(self, batch, batch_idx):
        if self.current_epoch == 2:
            raise KeyError("in a batch")
        return super().training_step(batch, batch_idx)


def test_15_an_exception_leaves_a_plain_module():
    """Theirs: hooks and keys called weight_orig stay behind."""
    module, plain = Failing(), Classifier()
    with pytest.raises(KeyError, match="in a batch"):
        fit(module, pruning())
    assert list(module.state_dict()) == list(plain.state_dict())
    for part, like in zip(module.modules(), plain.modules(), strict=True):
        for name in [name for name in vars(like) if name.endswith("_hooks")]:
            assert not getattr(part, name), name
    assert nonzero(module.parameters()) == LEFT
    loss = F.cross_entropy(module(torch.randn(4, 8)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(p.grad is not None and p.is_leaf for p in module.parameters())


def test_16_the_share_reaches_metrics_and_loggers(tmp_path):
    """Theirs: the loss is all that `callback_metrics` has."""
    run = fit(Classifier(), pruning(), logger=CSVLogger(tmp_path), log_every_n_steps=1)
    assert run.callback_metrics["prune/keep"].item() == pytest.approx(LEFT / SIZE)
    table = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
    heading, *_ = table.splitlines()
    assert {"prune/keep", "prune/keep_target", "prune/net.0"} <= set(heading.split(","))
