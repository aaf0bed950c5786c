"""Form: layers are dense or factored as the state that they load, and nothing is decomposed."""

import copy

import pytest
import torch
from torch import nn

from lightning_prune.lowrank import (
    Folding,
    balanced,
    compose,
    factored,
    factorise,
    factors_of,
    folding_for,
    folding_of,
    follow_states,
    schemes_of,
    take_form,
)
from lightning_prune.lowrank.factors import LOADED


def network():
    return nn.Sequential(
        nn.Conv2d(6, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4)
    )


def factor(layer, scheme=0, slices=1, rank=2):
    folding = folding_for(layer, scheme, slices)
    factorise(layer, folding, *balanced(layer.weight, folding, range(rank)))


@pytest.fixture
def written():
    """A network with a factored convolution, and its state."""
    model = network()
    factor(model[0], 2, 3)
    return model, copy.deepcopy(model.state_dict())


@pytest.fixture
def no_decompositions(monkeypatch):
    """Whatever decomposes a matrix fails."""

    def refuse(*_, **__):
        raise AssertionError("a state is loaded without a decomposition")

    for name in ("eigh", "eigvalsh", "svd", "svdvals"):
        monkeypatch.setattr(torch.linalg, name, refuse)


def same(model, state):
    return model.state_dict().keys() == state.keys() and all(
        torch.equal(value, state[name]) for name, value in model.state_dict().items()
    )


def test_a_dense_network_takes_a_factored_state_and_a_dense_one_again(written, no_decompositions):
    model, state = written
    other = network()
    dense = copy.deepcopy(other.state_dict())
    follow_states(other)
    for _ in range(2):
        other.load_state_dict(state)
        assert same(other, state)
        assert folding_of(other[0]) == Folding((8, 3, 3, 3), 2, 2, 3)
        x = torch.randn(5, 6, 3, 3)
        torch.testing.assert_close(other.eval()(x), model.eval()(x))
        other.load_state_dict(dense)
        assert same(other, dense)
        assert folding_of(other[0]) is None
        assert [name for name, _ in other.named_parameters()] == [
            n for n, _ in network().named_parameters()
        ]


def test_factors_of_another_rank_and_folding_are_taken(written, no_decompositions):
    model, state = written
    other = network()
    factor_zeros(other[0], Folding((8, 3, 3, 3), 2, 0, 1), 1)
    follow_states(other)
    other.load_state_dict(state)
    assert same(other, state)
    assert folding_of(other[0]) == folding_of(model[0])


def factor_zeros(layer, folding, rank):
    factorise(
        layer,
        folding,
        torch.zeros(folding.encoder_shape(rank)),
        torch.zeros(folding.decoder_shape(rank)),
    )


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 3, 3), (4, 6, 1, 3), (4, 6, 2, 3, 2)])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_folding_is_known_from_the_shapes_of_the_factors(shape, rank):
    kinds = {2: None, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    kind = kinds[len(shape)]
    filters, channels, *kernel = shape
    for scheme in schemes_of(shape, range(4)):
        for slices in (1, 3):
            make = kind(channels, filters, kernel) if kind else nn.Linear(channels, filters)
            model = nn.Sequential(make)
            factor(model[0], scheme, slices, rank)
            other = nn.Sequential(
                kind(channels, filters, kernel) if kind else nn.Linear(channels, filters)
            )
            assert take_form(other, model.state_dict()) == ["0"]
            assert folding_of(other[0]) == folding_of(model[0])
            assert take_form(other, model.state_dict()) == []
            other.load_state_dict(model.state_dict())
            torch.testing.assert_close(other[0].weight, model[0].weight)


def test_a_layer_that_has_its_form_keeps_its_parameters(written):
    model, state = written
    before = list(model.parameters())
    follow_states(model)
    model.load_state_dict(state)
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))


def test_only_a_copy_changes_when_a_copy_is_loaded(written):
    _, state = written
    model = network()
    dense = copy.deepcopy(model.state_dict())
    follow_states(model)
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    assert folding_of(other[0]) is not None
    assert folding_of(model[0]) is None
    assert same(model, dense)
    model.load_state_dict(dense)
    assert folding_of(other[0]) is not None


def test_a_part_of_a_larger_module_that_is_loaded_takes_its_form(written):
    _, state = written
    part = network()
    follow_states(part)
    whole = nn.ModuleDict({"part": part, "rest": nn.Linear(2, 2)})
    rest = {f"rest.{name}": value for name, value in whole["rest"].state_dict().items()}
    whole.load_state_dict({f"part.{name}": value for name, value in state.items()} | rest)
    assert same(part, state)
    assert take_form(network(), {f"part.{n}": v for n, v in state.items()}, "part.") == ["0"]


def test_after_the_handle_is_removed_another_form_is_refused(written):
    _, state = written
    other = network()
    follow_states(other).remove()
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        other.load_state_dict(state)


def test_a_layer_under_two_names_is_factored_once():
    def twice():
        shared = nn.Linear(6, 6)
        return nn.Sequential(shared, nn.Tanh(), shared)

    model, other = twice(), twice()
    factor(model[0], slices=3)
    follow_states(other)
    other.load_state_dict(model.state_dict())
    assert other[0] is other[2]
    assert [name for name, _ in factored(other)] == ["0"]
    x = torch.randn(3, 6)
    torch.testing.assert_close(other(x), model(x))
    compose(model[2])
    other.load_state_dict(model.state_dict())
    assert folding_of(other[2]) is None
    torch.testing.assert_close(other(x), model(x))


def test_what_is_loaded_trains_as_the_layer_did_and_has_its_dtype(written):
    _, state = written
    other = network().double()
    other[0].weight.requires_grad_(False)
    take_form(other, state)
    assert [f.requires_grad for f in factors_of(other[0])] == [False, False]
    assert all(f.dtype == torch.float64 for f in factors_of(other[0]))
    take_form(other, network().state_dict())
    assert not other[0].weight.requires_grad
    assert other[0].weight.dtype == torch.float64


def test_layers_that_a_state_does_not_have_stay(written):
    model, state = written
    before = folding_of(model[0])
    assert take_form(model, {}) == []
    assert folding_of(model[0]) == before
    assert take_form(network(), {"3.weight": state["3.weight"]}) == []


def test_factors_of_another_layer_are_refused_by_name(written):
    _, state = written
    other = nn.Sequential(nn.Conv2d(6, 10, 3, groups=2))
    with pytest.raises(ValueError, match="The layer '0' is another one in the state: factors of"):
        take_form(other, state)
    with pytest.raises(ValueError, match=r"do not make a weight of \(8, 6\)"):
        take_form(nn.Sequential(nn.Linear(6, 8)), state)


def test_a_state_that_is_refused_changes_no_layer():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    encoder, decoder = torch.zeros(2, 8), torch.zeros(8, 2)
    names = [f"{layer}.{key}" for layer in (0, 1) for key in LOADED]
    state = dict(zip(names, (encoder, decoder, encoder, torch.zeros(9, 2)), strict=True))
    with pytest.raises(ValueError, match="The layer '1' is another one in the state"):
        take_form(net, state)
    assert not list(factored(net))
    state[names[-1]] = decoder
    assert take_form(net, state) == ["0", "1"]
    assert [name for name, _ in factored(net)] == ["0", "1"]
