"""A module that is being pruned is a plain module."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, convolutional, fit, loader, nonzero, perceptron
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.flop_counter import FlopCounterMode

from lightning_prune import Geometric, OneShot, Pruning

KEEP = 0.3


def pruning(events=2, **options):
    return Pruning("magnitude", Geometric(1, 1, events, keep=KEEP), verbose=False, **options)


def images(count=64):
    return loader(count, (1, 8, 8))


def hooks(module):
    kinds = [name for name in vars(nn.Module()) if name.endswith(("_hooks", "_pre_hooks"))]
    return [kind for part in module.modules() for kind in kinds if getattr(part, kind, None)]


def test_keys_are_the_same_before_inside_of_a_batch_and_after():
    module = Classifier()
    before = list(module.state_dict())
    probe = Probe("on_before_zero_grad", lambda _, m: (list(m.state_dict()), hooks(m)))
    fit(module, pruning(), probe)
    assert len(probe.seen) == 12
    assert all(seen == (before, []) for seen in probe.seen)
    assert list(module.state_dict()) == before
    assert list(dict(module.named_parameters())) == before


def test_copies_pickles_and_exports_made_in_mid_training_are_the_pruned_network():
    x = torch.randn(5, 8)

    def look(_, module):
        torch._dynamo.reset()  # torch 2.6 exports one kind of module eight times and no more
        exported = torch.export.export(copy.deepcopy(module.net).eval(), (x,)).module()
        whole = copy.deepcopy(module)
        sent = pickle.loads(pickle.dumps(module))
        return [net(x) - module.net(x) for net in (exported, whole, sent)], whole

    probe = Probe("on_train_batch_end", look)
    callback = pruning()
    fit(Classifier(), callback, probe)
    for differences, _ in probe.seen:
        for difference in differences:
            assert difference.abs().max() < 1e-6
    weights = [nonzero(copied.parameters()) for _, copied in probe.seen]
    target = [int(SIZE * keep) for keep in (1.0, KEEP**0.5, KEEP)]
    assert weights == [count for count in target for _ in range(4)]


def test_the_compiled_inner_net_is_one_graph_over_ten_events():
    counter = CompileCounter()
    module = Classifier()
    module.net = torch.compile(module.net, backend=counter)
    callback = pruning(events=10)
    fit(module, callback, max_epochs=12)
    assert len(callback.events) == 10
    assert nonzero(module.parameters()) == int(SIZE * KEEP)
    assert counter.frame_count == 1


def test_a_buffer_with_the_name_of_a_mask_is_left_alone(tmp_path):
    module = Classifier()
    module.net[0].register_buffer("attn_mask", torch.ones(8))
    module.net[0].register_buffer("weight_mask", torch.ones(12, 8))
    run = fit(module, pruning())
    assert torch.equal(module.net[0].weight_mask, torch.ones(12, 8))
    run.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["net.0.attn_mask"], torch.ones(8))


class Breaks(Classifier):
    broken = True

    def training_step(self, batch, batch_idx):
        if self.broken and self.current_epoch == 2 and batch_idx == 1:
            raise KeyError("a batch that is broken")
        return super().training_step(batch, batch_idx)


def test_the_callback_too_can_be_copied_and_pickled_in_mid_training():
    def look(_, module):
        callback = module.trainer.callbacks[0]
        bits = [
            (masks["names"], masks["bits"].tolist())
            for copied in (callback, copy.deepcopy(callback), pickle.loads(pickle.dumps(callback)))
            for masks in [copied.state_dict()["masks"]]
        ]
        return bits[0] == bits[1] == bits[2], len(bits[0][0])

    probe = Probe("on_train_batch_end", look)
    fit(Classifier(), pruning(), probe)
    assert probe.seen == [(True, 0)] * 4 + [(True, 4)] * 8


def test_an_exception_in_a_batch_leaves_the_module_usable_and_no_hook():
    module, callback = Breaks(), pruning()
    kept = []
    module.optimizer = lambda p: kept.append(torch.optim.SGD(p, lr=0.1)) or kept[-1]
    with pytest.raises(KeyError, match="broken"):
        fit(module, callback)
    assert hooks(module) == []
    assert not kept[0]._optimizer_step_post_hooks
    assert not kept[0]._optimizer_step_pre_hooks
    assert nonzero(module.parameters()) == int(SIZE * KEEP)
    assert module.net(torch.randn(2, 8)).isfinite().all()
    copy.deepcopy(module)
    module.broken = False  # and the callback goes on with another trainer
    fit(module, callback)
    assert nonzero(module.parameters()) == int(SIZE * KEEP)
    assert not kept[1]._optimizer_step_post_hooks


def test_no_hook_is_left_after_a_fit():
    kept = []
    module = Classifier(optimizer=lambda p: kept.append(torch.optim.Adam(p)) or kept[-1])
    fit(module, pruning())
    assert not kept[0]._optimizer_step_post_hooks
    assert hooks(module) == []


ELSEWHERE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lightning_prune", "pytorch_lightning", "lightning"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import torch
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 3)
)
saved = torch.load(sys.argv[1], weights_only=True)["state_dict"]
net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in saved.items()})
print(sum(int(p.count_nonzero()) for p in net.parameters()))
"""


@pytest.mark.slow
def test_the_checkpoint_loads_where_this_package_is_not(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="last")
    fit(Classifier(), pruning(), saver, enable_checkpointing=True)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "last.ckpt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.strip() == str(int(SIZE * KEEP)), done.stderr


@pytest.mark.parametrize("method", ["magnitude", "magnitude_layerwise", "filter_norm_global"])
def test_counts_in_the_report_are_those_of_the_saved_checkpoint(method, tmp_path):
    torch.manual_seed(0)
    callback = Pruning(method, OneShot(1, keep=0.5), verbose=False)
    run = fit(Classifier(convolutional()), callback, data=images())
    run.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    saved = {n.removeprefix("net."): t for n, t in saved.items() if t.is_floating_point()}
    parameters = {n: t for n, t in saved.items() if "running" not in n}
    event = callback.events[-1]
    assert event["params"] == sum(t.numel() for t in parameters.values())
    assert event["nonzero"] == nonzero(parameters.values())
    rows = {row["name"].removeprefix("net."): row for row in event["layers"]}
    assert list(rows) == ["0", "3", "6"]
    places = {"0": 64, "3": 9, "6": 1}  # 8x8, then 3x3 images
    for name, row in rows.items():
        weight = saved[f"{name}.weight"]
        assert (row["params"], row["nonzero"]) == (weight.numel(), nonzero([weight]))
        assert (row["macs"], row["macs_effective"]) == (
            places[name] * weight.numel(),
            places[name] * nonzero([weight]),
        )
    for part in ("macs", "macs_effective"):
        assert event[part] == sum(row[part] for row in rows.values())


def test_multiply_adds_are_half_of_what_the_flop_counter_counts():
    module = Classifier(convolutional())
    callback = Pruning("magnitude", OneShot(0, keep=0.5), verbose=False)
    fit(module, callback, data=images(), max_epochs=1)
    with FlopCounterMode(display=False) as counter:
        module.net(torch.randn(1, 1, 8, 8))
    assert callback.events[-1]["macs"] == counter.get_total_flops() / 2


def test_the_size_of_the_small_nets():
    assert sum(p.numel() for p in perceptron().parameters()) == SIZE
