"""The command on flows of the plane: what a run leaves in its folder, its report and its logger."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from lightning_prune.cli.rows import rows
from lightning_prune.cli.run import run
from lightning_prune.configs import compose
from lightning_prune.folder import RunFolder

pytestmark = pytest.mark.slow

KEEPS = [0.5, 0.2]
SHORT = [
    "epochs=3", "schedule.first=1", "schedule.every=1", f"schedule.keeps={KEEPS}",
    "model.solver.steps=2", "model.solver.compiled=false", "threads=1",
]  # fmt: skip
FLOW = ["data.samples=300", "data.batch_size=90", "model.fields.hidden=[8,8]"]
DENSE = 2 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2


def command(folder: Path, experiment: str, *overrides: str) -> dict:
    """The report of a run."""
    run(compose("train", f"experiment=sparse_flows/{experiment}", *SHORT, *overrides), folder)
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run on six Gaussians, with images in its logger if there is one."""
    folder = tmp_path_factory.mktemp("gaussians")
    logger = "csv" if find_spec("tensorboard") is None else "tensorboard"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_prune.cli.pictures.SAMPLES", 2000)  # whose modes are counted
        command(folder, "gaussians", *FLOW, "flatness=20", f"logger={logger}")
    return folder


@pytest.fixture(scope="module")
def report(finished: Path) -> dict:
    return json.loads((finished / "report.json").read_text())


def test_a_flow_is_compared_by_a_likelihood_that_can_be_believed(report):
    extra = report["extra"]
    assert (extra["main_metric"], extra["direction"]) == ("test/nll", "min")
    told = {"solver": "dopri5", "atol": 1e-5, "rtol": 1e-5, "trace": "exact"}
    assert extra["likelihood"] == told
    assert extra["floor"] == pytest.approx(1.13, abs=0.05)


def test_no_network_of_a_run_is_below_the_floor(report):
    parts = [report[name] for name in ("dense", "control", "final")] + report["events"]
    scores = [part["metrics"]["test/nll"] for part in parts]
    scores += [event["control"]["test/nll"] for event in report["events"]]
    assert len(scores) == 7
    assert all(report["extra"]["floor"] - 0.1 < score < 5 for score in scores)


def test_every_cycle_has_the_control_that_was_trained_as_long(report):
    first, last = report["events"]
    assert first["control"]["test/nll"] != last["control"]["test/nll"]
    assert last["control"] == report["control"]["metrics"]
    assert last["metrics"].items() >= report["final"]["metrics"].items()
    assert set(first["control"]) == set(report["final"]["metrics"])
    assert report["control"]["nonzero"] == report["control"]["params"] == DENSE


def test_every_event_keeps_what_its_schedule_says(report):
    assert [event["keep_target"] for event in report["events"]] == KEEPS
    for event, keep in zip(report["events"], KEEPS, strict=True):
        assert 0 < event["keep"] <= keep
        assert event["nonzero"] <= keep * DENSE
    assert [event["epoch"] for event in report["events"]] == [1, 2]


def test_modes_are_counted_for_every_network(report):
    for part in (report["dense"], report["control"], *report["events"]):
        modes = part["modes"]
        assert modes, "a table of numbers"
        assert json.loads(json.dumps(modes)) == modes
    keys = {frozenset(part["modes"]) for part in (report["dense"], *report["events"])}
    assert len(keys) == 1


def test_flatness_is_measured_where_it_is_asked_for(report):
    parts = [report["dense"]["flatness"], report["control"]["flatness"]]
    parts += [event["flatness"] for event in report["events"]]
    assert len({frozenset(part) for part in parts}) == 1
    values = [v for part in parts for v in part.values() if isinstance(v, float)]
    assert torch.tensor(values).isfinite().all()


@pytest.mark.parametrize(
    "name", ["density", "field", "trajectories", "samples", "nll", "flatness", "curve", "layers"]
)
def test_there_is_a_plot_of(finished: Path, name: str):
    head = (finished / "plots" / f"{name}.png").read_bytes()[:8]
    assert head == b"\x89PNG\r\n\x1a\n"


def test_the_weights_of_every_cycle_are_those_of_the_report(finished: Path, report):
    cycles = finished / "checkpoints" / "cycles"
    for number, nonzero in enumerate([DENSE, report["events"][0]["nonzero"]]):
        state = torch.load(cycles / f"event_{number:02d}.pt", weights_only=True)["state_dict"]
        weights = [tensor for name, tensor in state.items() if name.startswith("net.")]
        assert sum(int(tensor.count_nonzero()) for tensor in weights) == nonzero


def test_rows_of_a_sweep_say_what_the_control_came_to_in_each_cycle(report, tmp_path: Path):
    file = RunFolder(tmp_path).write_rows(rows(report, ["optim.optimizer.lr=0.01"], "identity"))
    with file.open(newline="") as text:
        table = list(csv.DictReader(text))
    beside = [event["control"]["test/nll"] for event in report["events"]]
    assert [float(row["control_cycle"]) for row in table] == beside
    assert [float(row["metric"]) for row in table] == [
        event["metrics"]["test/nll"] for event in report["events"]
    ]
    assert table[-1]["control_cycle"] == table[-1]["control"] != table[0]["control_cycle"]


def test_a_classifier_of_the_plane_leaves_its_regions(tmp_path: Path):
    found = command(tmp_path, "moons", "data.samples=60", "model.hidden=[8]")
    assert (tmp_path / "plots" / "regions.png").is_file()
    assert not (tmp_path / "plots" / "density.png").exists()
    assert "modes" not in found["dense"]
    assert found["extra"]["main_metric"] == "test/accuracy"
    assert "floor" not in found["extra"]
    assert "flatness" not in found["dense"]
    assert not (tmp_path / "plots" / "flatness.png").exists()
    assert all("test/accuracy" in event["control"] for event in found["events"])


def test_flatness_of_what_is_no_flow_is_refused_in_one_sentence(tmp_path: Path):
    with pytest.raises(ValueError, match="flatness= is for flows") as told:
        command(tmp_path, "moons", "data.samples=60", "model.hidden=[8]", "flatness=20")
    assert "\n" not in str(told.value)


def test_tensorboard_shows_the_flow(finished: Path):
    pytest.importorskip("tensorboard", reason="the optional package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(finished / "logs" / "version_0"), {"images": 0}).Reload()
    assert {"prune/density", "prune/field", "prune/samples"} <= set(read.Tags()["images"])
    # before both events, and at the end
    assert len(read.Images("prune/density")) == 3
