"""Mistakes: one sentence with what to do, at once, and no trace of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_prune.cli import train

DEBUG = ["trainer=debug", "data=synthetic", "data.batch_size=16", "data.samples=64"]
MISTAKES = {
    "schedule.keep=7": "(0, 1]",
    "schedule.keep=abc": "(0, 1]",
    "schedule.every=0": "every is a whole number",
    "method=wander": "filter_norm",
    "schedule.kep=0.1": "Could not override 'schedule.kep'",
    "epochs=20": "would never happen",
    "measure=flops": "'params' or 'macs'",
    "threads=0": "threads is a whole number",
    "ckpt_path=last": "There is no checkpoint in outputs",
    "ckpt_path=missing.ckpt": "There is no checkpoint",
    "data=mnist data.root=missing": "The data folder missing does not exist",
    "schedule=steps": "at least one event",
    "criterion@method.criterion=range": "range",
    "layers.include=[head.*]": "matches no prunable layer",
    "schedule.keep=0.001": "smallest reachable keep",
    "rewind.to=99": "lies after the first event",
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run in debug."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    before = sys.argv
    sys.argv = ["lightning-prune", *DEBUG, "control=false", f"hydra.run.dir={folder}"]
    train.main()
    sys.argv = before
    return folder


@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_answered_in_one_line(
    overrides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    # a debug run would move the schedule
    monkeypatch.setattr(sys, "argv", ["lightning-prune", "data.batch_size=512", *overrides.split()])
    if "keep=0.001" in overrides:
        sys.argv += ["schedule=one_shot", "schedule.epoch=0"]
    with pytest.raises(SystemExit) as ended:
        train.main()
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 1
    assert said.startswith("lightning-prune: ")
    assert MISTAKES[overrides] in said
    assert "\n" not in said


def test_a_torn_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "torn.ckpt").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-prune", "ckpt_path=torn.ckpt"])
    with pytest.raises(SystemExit):
        train.main()
    assert "'torn.ckpt' cannot be used" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["torn.ckpt"], "no empty run folder"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight": torch.ones(2)}, "no checkpoint of a Lightning training"),
        (
            {"state_dict": {"x": torch.ones(2)}, "epoch": 1, "optimizer_states": []},
            "another network",
        ),
        ({"state_dict": Path("an object")}, "could execute code"),
    ],
    ids=["weights", "other", "objects"],
)
def test_a_foreign_checkpoint_is_refused(
    content: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    torch.save(content, tmp_path / "foreign.ckpt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-prune", "ckpt_path=foreign.ckpt"])
    with pytest.raises(SystemExit):
        train.main()
    assert said in capsys.readouterr().err


def test_another_method_cannot_go_on(finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    checkpoint = finished_run / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(
        sys, "argv",
        ["lightning-prune", *DEBUG, "method=random", f"ckpt_path={checkpoint}",
         f"hydra.run.dir={finished_run.parent / 'other'}"],
    )  # fmt: skip
    with pytest.raises(SystemExit):
        train.main()
    assert "was pruned with" in capsys.readouterr().err


def test_a_bug_is_no_mistake():
    assert train.explain(RuntimeError("shapes")) is None
    assert train.explain(KeyError("x")) is None


def test_help_and_mistakes_import_neither_torch_nor_lightning(tmp_path: Path):
    """Their import takes longer than two seconds; these answers come before it."""
    code = (
        "import sys\n"
        "from lightning_prune.cli.train import main\n"
        "for argument in ('--help', '--cfg=job', 'schedule.keep=7', 'method=wanda'):\n"
        "    sys.argv = ['lightning-prune', argument]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    heavy = {'torch', 'pytorch_lightning', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, (argument, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "experiment=digits_resnet_keeps" in done.stdout
    assert "_target_: lightning_prune.Geometric" in done.stdout
