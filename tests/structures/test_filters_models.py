import pytest
import torch
from thin import check_selection, macs_of_flow
from torch import nn

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
POINTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def resnet():
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def mobilenet():
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(num_classes=10, width_mult=0.25)


def densenet():
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2, 2, 2), 16, num_classes=10)


@pytest.mark.parametrize("make", [resnet, mobilenet, densenet])
def test_models_of_torchvision_equal_their_thin_copies(make):
    check_selection(make, IMAGES, keep=0.6)


def flow(solver, sensitivity, estimator=None):
    """A field of two hidden layers in a solver of torchdyn, or a continuous flow around it."""
    from torchdyn.core import NeuralODE
    from torchdyn.models import cnf

    class Solved(nn.Module):
        def __init__(self):
            super().__init__()
            size = 3 if estimator is None else 2
            field = nn.Sequential(
                nn.Linear(size, 12), nn.Sigmoid(), nn.Linear(12, 11), nn.Softplus(),
                nn.Linear(11, size),
            )  # fmt: skip
            if estimator is not None:
                two = torch.eye(2, dtype=torch.float64)
                prior = torch.distributions.MultivariateNormal(two[0] * 0, two)
                trace = getattr(cnf, estimator)
                field = cnf.CNF(field, trace_estimator=trace, noise_dist=prior)
            options = {"atol": 1e-5, "rtol": 1e-5} if solver == "dopri5" else {}
            self.ode = NeuralODE(
                field, solver=solver, sensitivity=sensitivity, return_t_eval=False, **options
            )

        def forward(self, x):
            torch.manual_seed(0)
            return self.ode(x, torch.linspace(0, 1, 3, dtype=x.dtype))[-1]

    return Solved()


@pytest.mark.filterwarnings("ignore:Setting tolerances")
@pytest.mark.parametrize("sensitivity", ["autograd", "adjoint"])
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
@pytest.mark.parametrize("estimator", [None, "autograd_trace", "hutch_trace"])
def test_continuous_depth_equals_its_thin_copy(solver, sensitivity, estimator):
    groups = check_selection(
        lambda: flow(solver, sensitivity, estimator), POINTS, count=macs_of_flow
    )
    assert [group.size for group in groups] == [12, 11]
