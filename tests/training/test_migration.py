"""Set-ups of Lightning's ModelPruning as ours."""

import copy
import warnings

import pytest
import torch
import torch.nn.utils.prune as torch_prune
from classifiers import Classifier, Probe, convolutional, fit, nonzero
from lightning.pytorch.callbacks import ModelPruning as OtherModelPruning
from pytorch_lightning.callbacks import ModelPruning
from torch import nn

from lightning_prune import Method, Pruning, Rewind
from lightning_prune.allocations import Threshold, Uniform
from lightning_prune.criteria import Magnitude, Random
from lightning_prune.structures import Filters, Weights
from lightning_prune.training.migration import from_model_pruning

TWICE = {"apply_pruning": lambda epoch: epoch in (1, 3), "use_lottery_ticket_hypothesis": False}
ONCE = {"apply_pruning": lambda epoch: epoch == 1, "use_lottery_ticket_hypothesis": False}


def migrated(fn="l1_unstructured", *, max_epochs=10, model=None, compound=False, **setup):
    setup = {"pruning_fn": fn, **ONCE, **setup}
    return from_model_pruning(setup, max_epochs=max_epochs, model=model, compound=compound)


@pytest.mark.parametrize(
    ("setup", "method"),
    [
        ({}, Method(Magnitude(), Weights(), Threshold())),
        ({"use_global_unstructured": False}, Method(Magnitude(), Weights(), Uniform())),
        ({"fn": torch_prune.L1Unstructured}, Method(Magnitude(), Weights(), Threshold())),
        ({"fn": "random_unstructured"}, Method(Random(), Weights(), Threshold())),
        (
            {"fn": "random_structured", "pruning_dim": 0, "use_global_unstructured": False},
            Method(Random(), Filters(), Uniform()),
        ),
        *(
            (
                {"fn": "ln_structured", "pruning_dim": 0, "pruning_norm": norm,
                 "use_global_unstructured": False},
                Method(Magnitude(p), Filters(), Uniform()),
            )
            for norm, p in ((1, 1.0), (2, 2.0), (float("inf"), float("inf")))
        ),
    ],
)  # fmt: skip
def test_functions_are_methods(setup, method):
    assert migrated(**setup).method == method


def test_a_callback_of_either_package_is_taken_like_its_arguments():
    for kind in (ModelPruning, OtherModelPruning):
        pruning = from_model_pruning(kind("l1_unstructured", amount=0.3, **ONCE), max_epochs=9)
        assert isinstance(pruning, Pruning)
        assert pruning.schedule.targets() == {2: 0.7}


@pytest.mark.parametrize(
    ("setup", "compound", "targets"),
    [
        ({**ONCE, "amount": 0.9}, False, {2: 0.1}),
        ({**TWICE, "amount": 0.5}, False, {2: 0.5}),
        ({**TWICE, "amount": 0.5}, True, {2: 0.5, 4: 0.25}),
        ({"apply_pruning": True, "amount": 0.5}, False, {1: 0.5}),
        # the end of the last epoch comes too late to train, and takes the place before
        ({"apply_pruning": True, "amount": 0.5}, True, {1: 0.5, 2: 0.25, 3: 0.125, 4: 0.5**5}),
        ({**TWICE, "amount": lambda epoch: 0.1 * epoch}, False, {2: 0.9, 4: 0.7}),
        ({**TWICE, "amount": lambda epoch: 0.1 * epoch}, True, {2: 0.9, 4: 0.63}),
        ({**TWICE, "amount": lambda epoch: 0.5 / epoch}, False, {2: 0.5}),  # never rises
        ({"apply_pruning": lambda epoch: epoch == 4, "amount": 0.5}, False, {4: 0.5}),
    ],
)
@pytest.mark.filterwarnings("ignore:ModelPruning's amount is read")
def test_amounts_are_absolute_targets(setup, compound, targets):
    assert migrated(max_epochs=5, compound=compound, **setup).schedule.targets() == targets


def test_both_readings_are_stated_where_they_differ():
    said = r"keep 0.50 \(sparsity 0.50\).*anew at 2 epochs, down to keep 0.25, which compound=True"
    with pytest.warns(UserWarning, match=said):
        migrated(**TWICE, amount=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        migrated(**TWICE, amount=0.5, compound=True)
        migrated(amount=0.5)


@pytest.mark.parametrize(
    ("tickets", "rewind"),
    [
        (True, Rewind(to=0, weights=True)),
        (False, None),
        (lambda epoch: epoch == 1, Rewind(to=0, weights=True)),
        (lambda epoch: epoch != 1, None),  # it prunes at epoch 1 only
    ],
)
def test_lottery_tickets_are_rewinding(tickets, rewind):
    assert migrated(use_lottery_ticket_hypothesis=tickets).rewind == rewind


def test_what_is_listed_is_chosen_and_its_share_is_one_of_the_network():
    module = Classifier()  # 12 x 8, 8 x 12, 6 x 8, 3 x 6 and 29 biases: 287
    listed = [(module.net[0], "weight"), (module.net[2], "weight")]
    pruning = migrated(parameters_to_prune=listed, amount=0.25, model=module, max_epochs=3)
    assert list(pruning.layers.include) == ["net.0", "net.2"]
    assert pruning.schedule.targets() == {2: pytest.approx(1 - 0.25 * 192 / 287)}
    fit(module, pruning)
    assert nonzero(weight for weight in (module.net[0].weight, module.net[2].weight)) == 0.75 * 192
    assert module.net[4].weight.all()


class OwnMethod(torch_prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        return default_mask


@pytest.mark.parametrize(
    ("setup", "named"),
    [
        ({"amount": 5}, "amount=5 as a number of weights"),
        ({"fn": OwnMethod}, "pruning_fn=OwnMethod"),
        (
            {"use_lottery_ticket_hypothesis": True, "resample_parameters": True},
            "resample_parameters",
        ),
        (
            {"fn": "random_structured", "pruning_dim": 1, "use_global_unstructured": False},
            "pruning_dim=1",
        ),
        (
            {"fn": "ln_structured", "pruning_dim": 0, "pruning_norm": "nuc",
             "use_global_unstructured": False},
            "pruning_norm='nuc'",
        ),
        (
            {**TWICE, "use_lottery_ticket_hypothesis": lambda epoch: epoch == 1, "compound": True},
            "use_lottery_ticket_hypothesis at some of the prunings",
        ),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_named(setup, named):
    with pytest.raises(ValueError, match=f"no counterpart of ModelPruning's {named}"):
        migrated(**setup)


def test_a_method_of_a_subclass_is_named():
    class Mine(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune=()):
            return parameters_to_prune[:1]

    with pytest.raises(ValueError, match="the method filter_parameters_to_prune of Mine"):
        from_model_pruning(Mine("l1_unstructured"), max_epochs=3)


def test_lists_that_name_no_prunable_weight_are_refused():
    module = Classifier(convolutional())
    for listed, message in (
        ([(module.net[1], "weight")], "pruning 'weight' of 'net.1', BatchNorm2d"),
        ([(module.net[3], "bias")], "pruning 'bias' of 'net.3', Conv2d"),
        ([(nn.Linear(2, 2), "weight")], "a module that is not in model"),
    ):
        with pytest.raises(ValueError, match=message):
            migrated(parameters_to_prune=listed, model=module)
    with pytest.raises(ValueError, match="give model="):
        migrated(parameters_to_prune=[(module.net[0], "weight")])


def test_what_prunes_nothing_or_is_no_set_up_is_refused():
    with pytest.raises(ValueError, match="prunes at none of 10 epochs"):
        migrated(apply_pruning=False)
    with pytest.raises(ValueError, match=r"amount=1.0 is not a share"):
        migrated(amount=1.0)
    with pytest.raises(TypeError, match="takes a ModelPruning or a mapping"):
        from_model_pruning("l1_unstructured", max_epochs=3)


@pytest.mark.parametrize("kind", [ModelPruning, OtherModelPruning])
def test_the_hello_world_ends_at_the_sparsity_that_was_meant(kind):
    """As in Lightning's documentation: half of the weights, and lottery tickets by default."""
    module = Classifier()
    initial = copy.deepcopy(module.state_dict())
    with pytest.warns(UserWarning, match="anew at 20 epochs, down to keep 9.5e-07"):
        pruning = from_model_pruning(kind("l1_unstructured", amount=0.5), max_epochs=20)
    pruning.verbose = False
    first = Probe("on_train_batch_start", lambda _, m: copy.deepcopy(m.state_dict()))
    fit(module, pruning, first, max_epochs=20)
    assert nonzero(module.parameters()) == 287 // 2
    after = first.seen[4]  # of four batches an epoch, in front of the first one after the event
    assert any((value == 0).any() for value in after.values())
    for name, value in after.items():
        assert torch.equal(value, initial[name] * (value != 0))
