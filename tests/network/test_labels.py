import numpy as np
import torch
from torch import nn

from lightning_prune.network.graph import build_graph
from lightning_prune.network.labels import FOREIGN, FREE, LARGEST, Labels, foreign, free


def test_every_index_of_a_parameter_has_a_label_of_its_own():
    labels = Labels(nn.Sequential(nn.Conv2d(2, 3, 5), nn.BatchNorm2d(3)))
    assert [held.qualified for held in labels.held][:3] == ["0.weight", "0.bias", "1.weight"]
    rows, columns, *places = labels.held[0].dims
    assert (len(rows), len(columns), places) == (3, 2, [None, None])
    assert labels.owners[columns[1]].tolist() == [0, 1, 1]  # first tensor, dimension 1, index 1
    assert len({*labels.roots().tolist()}) == len(labels) == 3 + 2 + 5 * 3


def test_merged_labels_are_one_unit():
    labels = Labels(nn.Linear(3, 3))
    rows, columns = labels.held[0].dims
    merged = labels.merge(rows, columns[::-1].copy(), "why")
    assert merged.tolist() == rows.tolist()
    assert labels.root(int(rows[0])) == labels.root(int(columns[2]))
    assert labels.root(int(rows[0])) != labels.root(int(columns[0]))
    assert labels.pins == {}


def test_constants_fit_anything_and_foreign_channels_pin():
    labels = Labels(nn.Linear(3, 3))
    rows = labels.held[0].dims[0]
    assert labels.merge(rows, free(3), "why").tolist() == rows.tolist()
    assert labels.pins == {}
    mixed = np.array([FREE, FOREIGN, rows[2]])
    assert labels.merge(mixed, rows, "why").tolist() == [rows[0], FOREIGN, rows[2]]
    assert labels.pins == {int(rows[1]): "why"}
    assert labels.merge(rows, None, "later") is None
    assert labels.pins == {int(rows[0]): "later", int(rows[1]): "why", int(rows[2]): "later"}
    assert foreign(2).tolist() == [FOREIGN, FOREIGN]


def test_tied_tensors_are_labelled_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    assert [h.qualified for h in Labels(model).held] == [
        "0.weight", "0.bias", "2.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    graph = build_graph(model, lambda: model(torch.randn(2, 4)), 2)
    assert (graph.positions["0"], graph.calls["0"]) == (2, 2)
    assert "2" not in graph.positions


def test_parameters_that_share_memory_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = nn.Parameter(model[0].weight.data)
    graph = build_graph(model, lambda: model(torch.randn(2, 4)), 2)
    assert graph.pinned["0"] == "2.weight and 0.weight share their memory"


def test_tables_and_lazy_tensors_are_left_alone():
    model = nn.Sequential(nn.LazyLinear(2))
    model.register_buffer("table", torch.zeros(LARGEST + 1))
    (held,) = Labels(model).held
    assert (held.qualified, held.dims) == ("table", (None,))
