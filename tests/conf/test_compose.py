"""Every yaml composes and instantiates, the table of methods is one table, experiments run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from lightning_prune import Method, methods
from lightning_prune.cli.run import run
from lightning_prune.configs import CONF, compose

# a part of a method has its group only inside a method
GROUPS = ("data", "model", "task", "optim", "method", "schedule", "rewind")
PARTS = ("criterion", "structure", "allocation")
# what has no default that could be right
NEEDED = {
    "steps": ["schedule.keeps={30: 0.5, 60: 0.2}"],
    "lenet5": ["data=mnist"],  # of images larger than the default's
    "text_encoder": ["data=ud_english"],
}

# a pattern is an allocation's business, and only that one's
TOGETHER = {
    "pattern": ["allocation@method.allocation=patterned"],
    "patterned": ["structure@method.structure=pattern"],
    "taylor": ["structure@method.structure=filters"],
    "thinet": ["structure@method.structure=channels"],
    "mean_activation": ["structure@method.structure=channels"],
    "spectral_error": ["structure@method.structure=ranks"],
    "tail_error": ["structure@method.structure=ranks"],
    "pca": ["structure@method.structure=ranks"],
    "energy_per_cost": ["structure@method.structure=ranks"],
}


# experiments that show in the fast suite that experiments run
QUICK = ("digits_resnet_keeps", "sweep_low_rank_resnet8")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in GROUPS for option in options(group)]
)
def test_every_option_instantiates(group: str, option: str, tmp_path: Path):
    extra = [f"data.root={tmp_path}"] if option in ("mnist", "fashion_mnist") else []
    cfg = compose("train", f"{group}={option}", *NEEDED.get(option, []), *extra)
    made = instantiate(cfg[group])
    if cfg[group] and "_target_" in cfg[group]:
        assert not OmegaConf.is_config(made)


@pytest.mark.parametrize("option", options("solver"))
def test_every_solver_can_be_swapped_in(option: str):
    cfg = compose("train", "model=cnf", f"solver@model.solver={option}")
    assert instantiate(cfg.model).solver == instantiate(cfg.model.solver)


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in PARTS for option in options(group)]
)
def test_every_part_of_a_method_can_be_swapped_in(group: str, option: str):
    cfg = compose("train", f"{group}@method.{group}={option}", *TOGETHER.get(option, []))
    assert getattr(instantiate(cfg.method), group) == instantiate(cfg.method[group])


@pytest.mark.parametrize("option", options("trainer"))
def test_every_trainer_composes(option: str):
    cfg = compose("train", f"trainer={option}")
    settings = {name: value for name, value in cfg.trainer.items() if name != "_target_"}
    if option != "gpu":
        instantiate(cfg.trainer, logger=False, enable_checkpointing=False, barebones=False)
    assert get_class(cfg.trainer._target_).__name__ == "Trainer"
    assert settings["max_epochs"] == cfg.epochs


@pytest.mark.parametrize("option", options("logger"))
def test_every_logger_instantiates_in_a_folder(option: str, tmp_path: Path, monkeypatch):
    if option in ("mlflow", "tensorboard", "wandb") and find_spec(option) is None:
        pytest.skip(f"the optional package {option} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for node in compose("train", f"logger={option}").logger.values():
        made = instantiate(node, save_dir=str(tmp_path))
        if option in ("csv", "tensorboard"):  # the others' folder is their own affair
            assert Path(made.log_dir).parent.parent == tmp_path


def test_yaml_and_table_name_the_same_methods():
    assert options("method") == sorted(methods())


@pytest.mark.parametrize("name", sorted(methods()))
def test_yaml_and_table_describe_the_same_method(name: str):
    composed = instantiate(compose("train", f"method={name}").method) or None
    assert repr(composed) == repr(methods()[name])
    assert composed is None or isinstance(composed, Method)


@pytest.mark.slow
def test_defaults_are_those_of_the_classes():
    """A yaml lists defaults so that they can be overridden, and must not change them."""
    given = {
        "threshold_layer_max": {"scale": "layer_max"},
        "filters_sum": {"reduction": "sum"},
        "sipp_max": {"patches": "max"},
        "channels_max": {"reduction": "max"},
        "water_filling_hybrid": {"select": "hybrid"},
        "equal_error_random": {"select": "random"},
        "equal_error_partial": {"select": "partial"},
        "threshold_lamp": {"scale": "lamp"},
        "fixed": {"threshold": 0.01},
        "weights_clean": {"clean": True},
        "ranks_sliced": {"slices": "divisors"},
        "ranks_all_schemes": {"slices": "divisors", "schemes": range(4)},
    }
    for group in PARTS:
        for option in options(group):
            cfg = compose("train", f"{group}@method.{group}={option}").method[group]
            bare = get_class(cfg._target_)(**given.get(option, {}))
            assert instantiate(cfg) == bare, f"{group}/{option}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in options("experiment")
    ],
)
def test_every_experiment_runs_in_debug(name: str, tmp_path: Path):
    cfg = compose(
        "train", f"experiment={name}", "trainer=debug", "data=synthetic", "logger=none",
        "data.batch_size=8", "data.samples=32", "data.test_samples=8", "data.pixels=true",
    )  # fmt: skip
    assert cfg.name == name, "an experiment's name is its folder's, and its file's"
    run(cfg, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    keeps = list(instantiate(cfg.schedule).targets().values())
    assert report["events"][-1]["keep_target"] == keeps[-1]
    assert 0 < report["events"][-1]["keep"] <= keeps[-1] + 1e-9
    assert report["config"]["name"] == name


@pytest.mark.parametrize("name", ["fashion_lenet_magnitude", "mnist_lenet_tickets"])
def test_experiments_read_the_official_files(name: str, tmp_path: Path, data_root: Path):
    cfg = compose(
        "train", f"experiment={name}", "trainer=debug", "logger=none", f"data.root={data_root}",
        "data.subset=small",
    )  # fmt: skip
    run(cfg, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["final"]["params"] == 266_610


def test_run_folders_of_a_sweep_lie_below_its_own():
    """A subdir that begins with an empty name would begin with a slash: the root of the disk."""
    sweep = OmegaConf.load(CONF / "hydra" / "default.yaml")
    raw = OmegaConf.to_container(sweep, resolve=False)["sweep"]
    assert raw["subdir"].startswith("${name}/")
    assert not raw["dir"].startswith("/")
