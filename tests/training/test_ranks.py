"""Two processes that share no seed hold the same weights and masks after every event."""

import socket

import pytest
import torch
from processes import in_new_processes
from rank import CRITERIA, METHODS, Steady, life, observed, observing
from subject import differences
from torch import distributed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.multiprocess,
    pytest.mark.skipif(
        not (distributed.is_available() and distributed.is_gloo_available()),
        reason="torch has no gloo to connect processes with",
    ),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What the two processes tell of their runs."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return in_new_processes([(life, rank, port, folder) for rank in (0, 1)], folder)


def learned(weights):
    """Without running statistics, which belong to a process until the next forward."""
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    return {name: t for name, t in weights.items() if not name.endswith(kinds)}


@pytest.mark.parametrize("method", METHODS)
def test_masks_and_weights_are_the_same_after_every_event(pair, method):
    one, other = (told[method] for told in pair)
    first = "net.0.weight"
    assert not torch.equal(one["initial"][first], other["initial"][first])
    assert one["losses"] != other["losses"]
    assert [event["epoch"] for event in one["events"]] == [1, 2, 3]
    assert list(one["after"]) == list(other["after"]) == ["1", "2", "3"]
    for number, weights in one["after"].items():
        assert differences(learned(weights), learned(other["after"][number])) == []
        for name, tensor in learned(weights).items():
            kept = tensor != 0
            assert torch.equal(tensor[kept], one["initial"][name][kept]), "rank 0's, rewound"
    assert method == "none" or weights[first].count_nonzero() < one["initial"][first].numel()
    assert differences(learned(one["weights"]), learned(other["weights"])) == []
    for key in ("masks", "position", "schedulers", "optimizers"):
        assert differences(one[key], other[key]) == [], key


@pytest.mark.parametrize("name", CRITERIA)
def test_both_see_what_one_process_would_have_seen(pair, name):
    one, other = (told[name] for told in pair)
    criterion, batches = CRITERIA[name]
    net = Steady()
    net.load_state_dict(one["initial"])
    alone = observed(observing(criterion, batches), net)
    assert len(alone["seen"]) == 3
    assert differences(one["seen"], other["seen"]) == []
    for layer, seen in alone["seen"].items():
        assert not torch.equal(one["own"][layer], other["own"][layer])
        assert not torch.equal(one["own"][layer], one["seen"][layer]) or name == "max"
        if name == "max":
            assert torch.equal(one["seen"][layer], seen)
        else:  # in another order
            torch.testing.assert_close(one["seen"][layer], seen, rtol=1e-5, atol=1e-7)
    assert differences(one["masks"], other["masks"]) == []
    assert one["events"][0]["keep"] == other["events"][0]["keep"] == pytest.approx(0.5, abs=2e-3)


def test_a_resumed_pair_is_the_uninterrupted_one(pair):
    for told in pair:
        for step in (2, 3, 5):
            resumed, straight = told[f"from {step}"], told["straight"]
            for key in ("weights", "masks", "optimizers", "schedulers", "position", "after"):
                wanted = straight[key]
                if key == "after":
                    wanted = {n: learned(straight[key][n]) for n in resumed[key]}
                    resumed[key] = {n: learned(w) for n, w in resumed[key].items()}
                if key == "weights":
                    wanted, resumed[key] = learned(wanted), learned(resumed[key])
                assert differences(wanted, resumed[key]) == [], (step, key)
            assert straight["losses"][step:] == resumed["losses"]


def test_every_sample_is_served_once_and_to_one_process(pair):
    epochs = range(5)
    orders = []
    for epoch in epochs:
        mine, theirs = (
            [n for at, numbers in told["served"] if at == epoch for n in numbers] for told in pair
        )
        assert len(mine) == len(theirs) == 36
        assert sorted(mine + theirs) == list(range(72))
        orders.append(mine)
    assert len({tuple(order) for order in orders}) == 5


def test_structures_that_replace_parameters_are_refused_in_one_sentence(pair):
    for told in pair:
        kind, text, trained = told["changing"]
        assert (kind, trained) == ("ValueError", 0)
        assert text == (
            "Changing changes parameters, which several processes cannot do during a fit; "
            "train in one process, or call lightning_prune.prune before the fit."
        )


def test_no_process_waits_for_one_that_failed(pair):
    one, other = (told["failing"] for told in pair)
    assert other[:2] == ["ArithmeticError", "an input that is no number"]
    assert one[0] == "RuntimeError"
    assert one[1] == "Process 1 of 2 failed with ArithmeticError: an input that is no number"
