"""A resumed run equals the uninterrupted one, bit for bit, from every checkpoint that it wrote."""

import pytest
import torch
from cases import SAME, STEPS, Case, files, resume_all, unlike, unscored
from hydra.utils import instantiate
from processes import in_new_process
from pytorch_lightning.callbacks import ModelCheckpoint
from subject import Net, differences, fit

from lightning_prune import Pruning, Rewind, compose

CASES = {
    "tickets": Case("magnitude", Rewind(0, weights=True)),
    "tickets of epoch 1, filters, a worker": Case(
        "filter_norm", Rewind(1, weights=True), workers=1
    ),
    "rates, a worker that draws": Case("random", Rewind(1), data="noisy", workers=1),
    "samples that draw, soft pruning": Case(
        "magnitude", Rewind(0, weights=True), data="noisy", hold=False
    ),
    "the dense control": Case("none", Rewind(0), data="noisy"),
    "steps, accumulation": Case(
        "magnitude", Rewind(2, weights=True), STEPS, data="noisy", count=80,
        options={"accumulate_grad_batches": 2, "max_epochs": 4},
    ),
    "regrowth by gradients": Case("rigl", Rewind(1), data="noisy"),
    "regrowth by chance, steps": Case("set", None, STEPS, data="noisy"),
    "drawn weights, data": Case("sipp_rand", Rewind(1), data="noisy"),
    "drawn channels, data, steps": Case("pfp_partial", None, STEPS, data="noisy"),
    "fitted channels, data": Case("thinet", Rewind(0)),
    "gradients, statistics anew": Case("taylor", Rewind(0), data="noisy"),
    "low rank": Case("alds"),
    "low rank, all schemes, steps, data that draw": Case("alds_plus", None, STEPS, data="noisy"),
    "low rank by gradients, rates": Case("snip_ranks", Rewind(0), data="noisy"),
    "filters taken out, rates": Case("filter_norm", Rewind(0), data="noisy", thin=True),
    "filters taken out, tickets of epoch 1": Case(
        "filter_norm_global", Rewind(1, weights=True), thin=True
    ),
    "channels taken out, data, steps": Case("pfp", None, STEPS, data="noisy", thin=True),
    "validation in the middle": Case(
        "filter_norm_global", None, STEPS, options={"val_check_interval": 2}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_a_run_resumed_in_a_new_process_is_the_uninterrupted_one(name, tmp_path):
    case = CASES[name]
    straight = case.fit(seed=0, callbacks=case.callbacks(tmp_path))
    found = files(tmp_path)[:: 2 if case.workers else 1]  # workers take their time to start
    assert {file.stem.split("-")[1] for file in found} == {"step", "end", "val"}
    assert len(straight["after"]) == 3
    resumed = in_new_process(resume_all, case, found, folder=tmp_path)
    wrong = {file.name: unlike(straight, resumed[file.name], file) for file in found}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize(
    "first",
    [
        "step=8-end",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("step=7-step", "step=8-step")),
        pytest.param("step=8-val", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_can_be_resumed_again(first, tmp_path):
    case = Case("magnitude", Rewind(0, weights=True), data="noisy", every=1)
    straight = case.fit(seed=0, callbacks=case.callbacks(tmp_path / "straight"))
    again = tmp_path / "again"
    case.fit(
        seed=7, resume=tmp_path / "straight" / f"{first}.ckpt", callbacks=case.callbacks(again)
    )
    for file in files(again)[:5]:
        run = case.fit(seed=8, resume=file)
        if first == "step=8-step":  # a validation was left out
            for events in (straight["events"], run["events"]):
                events[0]["metrics"] = {}
        assert unlike(straight, run, file) == []


@pytest.mark.parametrize(("method", "to"), [("magnitude", 0), ("filter_norm", 2), ("none", 0)])
def test_weights_go_back_to_what_they_were_at_every_event(method, to, tmp_path):
    case = Case(method, Rewind(to, weights=True), STEPS, every=1)
    straight = case.fit(seed=0, callbacks=case.callbacks(tmp_path))
    middle = next(file for file in files(tmp_path) if file.name == "step=7-step.ckpt")
    resumed = case.fit(seed=7, resume=middle)
    assert list(straight["after"]) == ["1", "2", "3"]
    assert list(resumed["after"]) == ["3"]
    start = straight["initial"]
    if to:
        file = next(file for file in files(tmp_path) if file.name == f"step={to}-step.ckpt")
        start = torch.load(file, weights_only=True)["state_dict"]
        assert not torch.equal(start["net.0.weight"], straight["initial"]["net.0.weight"])
    for run in (straight, resumed):
        for number, weights in run["after"].items():
            zeros = sum(int((t == 0).sum()) for n, t in weights.items() if "running" not in n)
            assert method == "none" or zeros > 100 * int(number)
            for name, tensor in weights.items():
                kept = tensor != 0 if "weight" in name or "bias" in name else tensor == tensor
                assert torch.equal(tensor[kept], start[name][kept]), (number, name)


def test_a_plain_loader_is_exact_from_epoch_ends_and_warned_of_once_elsewhere(tmp_path):
    case = Case("magnitude", Rewind(0, weights=True), data="plain")
    straight = case.fit(seed=0, callbacks=case.callbacks(tmp_path))
    assert len(about_loader(straight)) == 1
    resumed = in_new_process(resume_all, case, files(tmp_path), folder=tmp_path)
    exact = []
    for file in files(tmp_path):
        run = resumed[file.name]
        # the next epoch's iterator has drawn a number by the time a finished run ends again
        run["random"] = straight["random"]
        exact.append(not unlike(straight, run, file))
        whole = torch.load(file, weights_only=True)["batches"] % 4 == 0
        assert exact[-1] == whole, file.name
        assert len(about_loader(run)) == (not whole), file.name
    assert True in exact
    assert False in exact


def about_loader(run):
    return [text for text in run["warnings"] if "DataLoader) has no state_dict" in text]


def test_what_was_logged_last_survives_between_an_epoch_and_its_event(tmp_path):
    case = Case("magnitude", every=0)
    straight = case.fit(seed=0, callbacks=case.callbacks(tmp_path))
    scores = [event["metrics"]["val_loss"] for event in straight["events"]]
    assert len(set(scores)) == 3
    file = next(file for file in files(tmp_path) if file.name == "step=8-end.ckpt")
    resumed = case.fit(seed=7, resume=file)
    assert [event["metrics"]["val_loss"] for event in resumed["events"]] == scores


class Pausing(Net):
    """Optimizes by hand, and not in an epoch's last batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx < 3:
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()


def test_a_batch_without_a_step_does_not_move_the_event_of_an_epoch():
    run = Case("magnitude").fit(seed=0, net=Pausing())
    assert [(event["epoch"], event["step"]) for event in run["events"]] == [(1, 3), (2, 6), (3, 9)]
    assert [weights["net.0.weight"].eq(0).any() for weights in run["after"].values()] == [True] * 3


def test_two_runs_of_one_seed_are_one_run():
    one, other = (Case("random", data="noisy").fit(seed=3) for _ in range(2))
    assert differences(one, other) == []
    assert differences(one, Case("random", data="noisy").fit(seed=4)) != []


def launched(**options):
    """A run whose parts Hydra made, as the command line has them."""
    cfg = compose(
        "train", "method=filter_norm", "rewind=weights", "rewind.to=1", "data=synthetic",
        "dataset.size=8", "dataset.channels=1", "data.samples=80", "data.batch_size=16",
        "data.augment.flip=true", "model.widths=[8,8,8]", "optim=sgd_cosine",
        "optim.scheduler.T_max=3", "schedule.first=1", "schedule.every=1", "schedule.events=3",
        "schedule.keep=0.3",
    )  # fmt: skip
    parts = {name: instantiate(cfg[name]) for name in ("method", "schedule", "layers", "rewind")}
    pruning = Pruning(parts.pop("method"), parts.pop("schedule"), verbose=False, **parts)
    return fit(pruning, net=instantiate(cfg.task), data=instantiate(cfg.data), **options)


def test_a_run_whose_parts_hydra_made_resumes_with_safe_loading(tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    straight = launched(seed=0, callbacks=[saver])
    assert [event["epoch"] for event in straight["events"]] == [1, 2, 3]
    assert 0.2 < straight["events"][-1]["keep"] <= 0.3
    for file in files(tmp_path)[1::2]:
        torch.load(file, weights_only=True)
        resumed = launched(seed=7, resume=file)
        for run in (straight, resumed):
            run["events"] = unscored(run["events"])  # means over interrupted epochs
        assert differences(*({key: run[key] for key in SAME} for run in (straight, resumed))) == []
