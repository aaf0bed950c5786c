"""Weights that torch has split into originals and masks, made whole."""

import copy

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.utils.prune as torch_prune
from classifiers import Classifier, convolutional, fit, loader, nonzero
from pytorch_lightning.callbacks import ModelPruning
from torch import nn

from lightning_prune import Pruning
from lightning_prune.training.torch_pruned import import_torch_pruned


def split_state():
    """A module whose weights torch has split, its state, and what it computes."""
    net = convolutional()
    net.register_buffer("attn_mask", torch.ones(2, 2))
    net.register_buffer("lone_orig", torch.ones(1))
    plain = copy.deepcopy(net)
    torch_prune.l1_unstructured(net[0], "weight", 0.5)
    torch_prune.ln_structured(net[3], "weight", 0.5, n=2, dim=0)
    torch_prune.l1_unstructured(net[3], "bias", 2)
    return net, plain


def test_split_weights_become_plain_ones_in_their_old_order():
    net, plain = split_state()
    before = dict(net.state_dict())
    state = import_torch_pruned(net.state_dict())
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(plain.eval()(x), net.eval()(x))
    assert int(plain[0].weight.count_nonzero()) == 36
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_a_state_without_split_weights_is_as_it_was():
    state = nn.MultiheadAttention(4, 2).state_dict() | {"attn_mask": torch.ones(1), "a_orig": 3}
    assert list(import_torch_pruned(state).items()) == list(state.items())
    twice = {"w_orig": torch.ones(2), "w_mask": torch.ones(3)}  # not of one shape
    assert import_torch_pruned(twice) == twice


def test_a_checkpoint_that_lightning_cannot_load_is_imported(tmp_path):
    """Of a training on its way with ModelPruning, whose masks are not made permanent."""
    module = Classifier()
    saved = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    theirs = ModelPruning(
        "l1_unstructured", amount=0.5, make_pruning_permanent=False,
        apply_pruning=lambda epoch: epoch == 1, use_lottery_ticket_hypothesis=False,
    )  # fmt: skip
    fit(module, theirs, saved, enable_checkpointing=True)
    path = tmp_path / "last.ckpt"
    with pytest.raises(RuntimeError, match="weight_orig"):
        Classifier().load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    ours = Classifier()
    ours.load_state_dict(import_torch_pruned(path))
    x, _ = next(iter(loader()))
    assert torch.equal(ours(x), module(x))
    assert nonzero(ours.parameters()) == 287 - 144


def test_files_that_are_torn_or_hold_code_are_refused(tmp_path):
    path = tmp_path / "state.ckpt"
    torch.save({"state_dict": convolutional().state_dict(), "extra": Pruning}, path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        import_torch_pruned(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="cannot be used"):
        import_torch_pruned(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        import_torch_pruned(tmp_path / "none.ckpt")
