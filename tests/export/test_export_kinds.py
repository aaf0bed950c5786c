"""What is exported in another way: clusters of columns, and layers whose weights are read."""

import pytest
import torch
from torch import nn

from lightning_prune import export_factors, prune
from lightning_prune.lowrank import factored
from lightning_prune.models import MLPField


def test_clusters_become_an_encoder_with_zeros():
    torch.manual_seed(0)
    for net, x in (
        (nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1)), torch.randn(2, 6, 9, 7)),
        (nn.Sequential(nn.Linear(12, 10)), torch.randn(2, 12)),
    ):
        prune(net, "messi", 0.7)
        small = export_factors(net)
        torch.testing.assert_close(small(x), net(x), rtol=1e-4, atol=1e-5)
        encoder = small[0].encoder.weight
        assert 0.5 < float((encoder == 0).double().mean()) < 0.8, "two of three clusters"


def test_layers_whose_weights_are_read_stay_factored_with_a_warning():
    field = MLPField(hidden=(16, 16))
    net = nn.ModuleDict({"field": field, "head": nn.Linear(16, 16)})
    prune(net, "svd", 0.6)
    with pytest.warns(UserWarning, match=r"stay factored, because MLPField reads their weights"):
        small = export_factors(net)
    names = [name for name, _ in factored(small)]
    assert names
    assert all(name.startswith("field.") for name in names)
    x = torch.randn(3, 2)
    torch.testing.assert_close(small["field"](torch.tensor(0.0), x), field(torch.tensor(0.0), x))
