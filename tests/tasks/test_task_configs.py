"""The yaml files for models, data, tasks and optimizers compose and make a training."""

from pathlib import Path

import hydra
import pytest
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

import lightning_prune.models

PACKAGE = Path(lightning_prune.models.__file__).parent.parent
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(overrides=[f"+{override}" for override in overrides])


def reads(group, choice):
    """The properties of the data set that a yaml reads (a model) or sets (a data set)."""
    text = (CONF / group / f"{choice}.yaml").read_text()
    kinds = ("channels", "vocabulary")
    if group == "model":
        return {kind for kind in kinds if f"dataset.{kind}" in text}
    return {kind for kind in kinds if f"{kind}:" in text.splitlines()[1]}


IMAGES = [name for name in choices("data") if "channels" in reads("data", name)]
FLOWS = ("cnf", "tabular_flow", "image_flow", "image_flow_small")  # they give densities, no logits
FOR_IMAGES = [
    name
    for name in choices("model")
    if "vocabulary" not in reads("model", name) and name not in FLOWS
]


@pytest.mark.parametrize(
    ("data", "model"),
    [
        # every model on one data set in the fast suite
        pytest.param(data, model, marks=[] if data == "mnist" else [pytest.mark.slow])
        for data in IMAGES
        for model in FOR_IMAGES
    ],
)
def test_every_model_fits_every_data_set(data, model):
    config = composed(f"data={data}", f"model={model}")
    module = instantiate(config.data)
    if model == "lenet5" and config.dataset.size < 16:
        with pytest.raises(InstantiationException, match="at least 16 pixels"):
            instantiate(config.model)
        return
    with torch.device("meta"):  # shapes are all that is asked for
        net = instantiate(config.model)
    assert (module.classes, module.shape[0]) == (config.dataset.classes, config.dataset.channels)
    assert config.dataset.inputs == torch.Size(module.shape).numel()
    assert set(module.shape[1:]) == {config.dataset.size}
    # ImageNet's networks are for RGB images
    if not config.model._target_.startswith("torchvision") or module.shape[0] == 3:
        assert net(torch.randn(2, *module.shape, device="meta")).shape == (2, module.classes)


@pytest.mark.parametrize("optim", choices("optim"))
def test_every_optimizer_trains_and_leaves_a_safe_checkpoint(optim, tmp_path):
    config = composed(
        "data=synthetic", "model=lenet_300_100", "task=classification", f"optim={optim}"
    )
    config.dataset.update({"size": 4, "inputs": 48})
    config.data.samples = 100
    task, data = instantiate(config.task), instantiate(config.data)
    assert data.shape == (3, 4, 4)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["optimizer_states"]


def test_the_command_line_reaches_every_argument_of_the_data():
    config = composed("data=fashion_mnist", "seed=3")
    config.data.update({"batch_size": 7, "subset": "small"})
    config.data.augment.update({"pad": 2, "flip": True})
    data = instantiate(config.data)
    assert (data.batch_size, data.subset, data.seed, data.augment.pad, data.augment.flip) == (
        7,
        "small",
        3,
        2,
        True,
    )
