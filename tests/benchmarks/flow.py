"""A training step of a planar flow, beside the published setting, and what masks cost in it.

The published setting is torchdyn's own: dopri5 with adjoint, tolerances of 1e-5, one Gaussian probe
of the trace. Ours is eight compiled steps of rk4 with the exact trace, through autograd. Both train
the same 4 x 64 field, on the weights that it has after some epochs: an adaptive solver's cost grows
with what the field has learned. Sigmoid is the published activation, tanh that of the experiments.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.utils.prune as torch_prune
from timing import medians, table
from torch import Tensor, nn

from lightning_prune.data import Planar
from lightning_prune.methods import find_method
from lightning_prune.models import CNF, MLPField
from lightning_prune.network.layers import find_layers
from lightning_prune.network.network import Network
from lightning_prune.selection import select, write
from lightning_prune.solve import TIGHT, Solver
from lightning_prune.training.hold import Hold
from lightning_prune.training.masks import Masks

BATCH = 1024
STEPS = 15  # of an epoch of the 14,742 training points
KEEP = 0.3
TARGETS = {"ratio": 2.0, "nll": 1e-4, "upkeep": 0.01}
CASES = {"sigmoid": 30, "tanh": 10}  # epochs before the measurement


def points() -> tuple[Tensor, Tensor]:
    """Training and test points of six Gaussians."""
    data = Planar("gaussians")
    data.setup()
    return data.sets["train"].inputs, data.sets["test"].inputs  # type: ignore[attr-defined]


def trained(activation: str, epochs: int, inputs: Tensor) -> CNF:
    """A flow after some epochs, with a cosine from 5e-3."""
    torch.manual_seed(0)
    flow = CNF(MLPField(2, (64, 64, 64), activation), solver=Solver(compiled=True))
    optimizer = torch.optim.AdamW(flow.parameters(), lr=5e-3, weight_decay=1e-5)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * STEPS)
    for _ in range(epochs * STEPS):
        batch = inputs[torch.randint(len(inputs), (BATCH,))]
        optimizer.zero_grad()
        (-flow.log_prob(batch).mean()).backward()
        optimizer.step()
        rates.step()
    return flow


def published(flow: CNF) -> tuple[Callable[[Tensor], Tensor], list[nn.Parameter]]:
    """The loss of the same field as torchdyn computes it, and its parameters."""
    from torch.distributions import MultivariateNormal
    from torchdyn import models
    from torchdyn.core import NeuralODE
    from torchdyn.models.cnf import hutch_trace
    from torchdyn.nn import Augmenter

    field: MLPField = flow.fields[0]  # type: ignore[assignment]
    act = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}[field.activation]
    parts: list[nn.Module] = []
    for layer in field.layers:
        parts += [copy.deepcopy(layer), act()]
    noise = MultivariateNormal(torch.zeros(2), torch.eye(2))
    node = NeuralODE(
        models.CNF(nn.Sequential(*parts[:-1]), trace_estimator=hutch_trace, noise_dist=noise),
        solver="dopri5", sensitivity="adjoint", atol=1e-5, rtol=1e-5, atol_adjoint=1e-5,
        rtol_adjoint=1e-5, return_t_eval=False,
    )  # fmt: skip
    augment, span = Augmenter(augment_idx=1, augment_dims=1), torch.linspace(0, 1, 2)

    def loss(batch: Tensor) -> Tensor:
        end = node(augment(batch), span)[-1]
        return -(noise.log_prob(end[:, 1:]) - end[:, 0]).mean()

    return loss, list(node.vf.parameters())


def step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward, optimizer step."""
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def still(parameters: object) -> torch.optim.Optimizer:
    """An optimizer that works and leaves the weights where they are, so that rounds compare."""
    return torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)  # type: ignore[arg-type]


def measure(rounds: int = 9) -> dict[str, dict[str, float]]:
    """By activation, seconds of an epoch on both sides, likelihoods, and the upkeep of masks."""
    inputs, test = points()
    return {
        activation: _measured(trained(activation, epochs, inputs), inputs[:BATCH], test, rounds)
        | upkeep(activation)
        for activation, epochs in CASES.items()
    }


def _measured(flow: CNF, batch: Tensor, test: Tensor, rounds: int) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, parameters = published(flow)
    eager = copy.deepcopy(flow)
    eager.solver = Solver()
    taken = medians(
        {
            "published": partial(step, lambda: theirs(batch), still(parameters)),
            "ours": partial(step, lambda: -flow.log_prob(batch).mean(), still(flow.parameters())),
            "eager": partial(
                step, lambda: -eager.log_prob(batch).mean(), still(eager.parameters())
            ),
        },
        rounds,
    )
    with torch.no_grad():
        coarse = -eager.log_prob(test).double().mean()
        tight = -flow.log_prob(test, TIGHT).double().mean()
        reference = Solver("dopri5", atol=1e-7, rtol=1e-7, budget=20_000)
        exact = -eager.double().log_prob(test.double(), reference).mean()
    return {
        **{f"{name}_epoch_s": STEPS * seconds for name, seconds in taken.items()},
        "ratio": taken["published"] / taken["ours"],
        "nll": float(coarse),
        "nll_tight": float(tight),
        "nll_reference": float(exact),
    }


def upkeep(activation: str, rounds: int = 15) -> dict[str, float]:
    """Share of a step with 80 evaluations that held masks and torch's hooks take."""
    torch.manual_seed(0)
    flow = CNF(MLPField(2, (64, 64, 64), activation), solver=Solver(steps=20))
    batch, optimizer = torch.randn(BATCH, 2), still(flow.parameters())
    network, method = Network(flow), find_method("magnitude")
    assert method is not None
    selection = select(network, method, KEEP, "params")
    write(selection)
    masks, hold = Masks(), Hold()
    masks.record(selection.gains)
    masks.use(selection.gains)
    hold.attach([optimizer], masks)
    hold.detach()  # the step below is the dense one
    hold.assign([optimizer], masks)
    hooked = copy.deepcopy(flow)
    for layer in find_layers(hooked):
        torch_prune.custom_from_mask(layer.module, "weight", (layer.weight != 0).float())
    theirs = still(hooked.parameters())

    def ours() -> None:
        hold.mask_gradients(optimizer)
        hold._after_step(optimizer)

    sides = {
        "step": lambda: step(lambda: -flow.log_prob(batch).mean(), optimizer),
        "hooked": lambda: step(lambda: -hooked.log_prob(batch).mean(), theirs),
    }
    taken = medians(sides, rounds)
    alone = medians({"ours": ours}, 200)["ours"]
    return {
        "upkeep_share": alone / taken["step"],
        "hooks_share": taken["hooked"] / taken["step"] - 1,
        "step_ms": 1e3 * taken["step"],
    }


def show(found: dict[str, dict[str, float]]) -> None:
    """The figures beside their targets."""
    for case, f in found.items():
        table(
            f"flow of six Gaussians, 4 x 64 {case}, batch {BATCH}, an epoch of {STEPS} steps",
            [
                ("published (torchdyn, dopri5, adjoint)", f"{f['published_epoch_s']:8.2f} s"),
                ("lightning_prune, rk4 compiled", f"{f['ours_epoch_s']:8.2f} s"),
                ("lightning_prune, rk4 not compiled", f"{f['eager_epoch_s']:8.2f} s"),
                ("  times as fast", f"{f['ratio']:8.2f}    target >= {TARGETS['ratio']:g}"),
                (
                    "test likelihood, rk4 - tight",
                    f"{f['nll'] - f['nll_tight']:8.1e} nats  target <= {TARGETS['nll']:g}",
                ),
                ("  rk4 - 1e-7 in double", f"{f['nll'] - f['nll_reference']:8.1e} nats"),
                (
                    "masks, share of a step of 80 evaluations",
                    f"{100 * f['upkeep_share']:8.3f} %  target <= {100 * TARGETS['upkeep']:g} %",
                ),
                ("torch's hooks, the same", f"{100 * f['hooks_share']:8.2f} %"),
            ],
        )


if __name__ == "__main__":
    show(measure())
