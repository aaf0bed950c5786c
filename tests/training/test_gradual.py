"""Gradual pruning: a thousand events by the step, whose cost does not grow with their number."""

import csv
import json
import pickle
import re

import pytest
import torch
from classifiers import SIZE, Classifier, Probe, fit, nonzero, samples
from torch.utils.data import DataLoader

from lightning_prune import Polynomial, Pruning
from lightning_prune.folder import RunFolder
from lightning_prune.training.archive import Archive
from lightning_prune.training.events import EventLog

EVENTS = 1000


def gradual(last=EVENTS, every=1, **options):
    schedule = Polynomial(first=0, last=last, every=every, keep=0.2, unit="step")
    return Pruning("magnitude", schedule, **options)


def short(steps):
    """So many steps in one epoch."""
    return DataLoader(samples(4), batch_size=1, sampler=[i % 4 for i in range(steps)])


def train(callback, steps, *others):
    module = Classifier()
    fit(module, callback, *others, data=short(steps), max_epochs=1)
    return module


@pytest.fixture
def written(monkeypatch):
    """How many events each writing of the files had."""
    counts, whole = [], RunFolder.write_events

    def write(folder, events):
        counts.append(len(events))
        return whole(folder, events)

    monkeypatch.setattr(RunFolder, "write_events", write)
    return counts


@pytest.mark.slow
def test_a_thousand_events_follow_the_cube_and_leave_whole_files(tmp_path, written, capsys):
    callback = gradual(folder=tmp_path)
    module = train(callback, EVENTS + 1)
    keeps = [event["keep"] for event in callback.events]
    wanted = [0.2 + 0.8 * (1 - time / EVENTS) ** 3 for time in range(1, EVENTS + 1)]
    assert keeps == [int(keep * SIZE + 1e-6) / SIZE for keep in wanted]
    assert nonzero(module.parameters()) == int(0.2 * SIZE)
    with (tmp_path / "events.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, EVENTS + 1))
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["events"]) == EVENTS
    # an event that follows fast on another shares its writing
    assert len(written) < EVENTS / 10
    said = capsys.readouterr().out.splitlines()
    assert re.match(
        r"pruning with magnitude: step 1: .*, \.\.\., step 1000: .*1000 events", said[0]
    )
    lines = [line for line in said if line.startswith("epoch 0, step")]
    steps = [int(re.match(r"epoch 0, step (\d+):", line).group(1)) for line in lines]
    assert steps == [1, *range(10, EVENTS + 1, 10)]


class Clock:
    """Stands in for `time`: seconds pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_files_are_written_at_once_and_then_after_a_pause(tmp_path, monkeypatch, written):
    clock = Clock()
    monkeypatch.setattr("lightning_prune.training.events.time", clock)
    callback = gradual(last=6, folder=tmp_path, verbose=False)

    def tick(trainer, _):
        clock.now += 0.3

    train(callback, 20, Probe("on_train_batch_end", tick))
    # events at 0.3, 0.6, ..., 1.8 seconds; a writing that has waited is done at the next batch
    assert written == [1, 4, 6, 6]
    with (tmp_path / "events.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6


def test_slow_writing_is_done_less_often(tmp_path, monkeypatch, written):
    clock, whole = Clock(), RunFolder.write_layers
    monkeypatch.setattr("lightning_prune.training.events.time", clock)

    def slow(folder, events):
        clock.now += 0.1  # so that the next one waits for twenty seconds
        return whole(folder, events)

    monkeypatch.setattr(RunFolder, "write_layers", slow)
    callback = gradual(last=30, folder=tmp_path, verbose=False)

    def tick(trainer, _):
        clock.now += 1.0

    train(callback, 31, Probe("on_train_batch_end", tick))
    assert written == [1, 21, 30]


def test_an_exception_leaves_no_event_out_of_the_files(tmp_path, written):
    def fall(trainer, _):
        if trainer.global_step == 6:
            raise RuntimeError("fell")

    callback = gradual(last=9, folder=tmp_path, verbose=False)
    with pytest.raises(RuntimeError, match="fell"):
        train(callback, 10, Probe("on_train_batch_end", fall))
    assert len(callback.events) == 5
    with (tmp_path / "events.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5]


def event(number, **parts):
    layers = [{"name": "fc", "kept": 1000 - number}]
    return {"step": number, "metrics": {}, "layers": layers, **parts}


def test_the_archive_is_the_list_of_events_however_it_grew():
    events, growing = [], Archive()
    assert Archive.unpack(growing.pack(events)) == []
    for number in range(50):
        events.append(event(number))
        if number % 7:
            packed = growing.pack(events)
            assert Archive.unpack(packed) == events
        # what is still open may change until the next one begins
        events[-1] = event(number, metrics={"loss": 1 / (number + 1)})
    assert Archive.unpack(growing.pack(events)) == events
    assert torch.equal(growing.pack(events), Archive().pack(events))
    assert Archive.unpack(pickle.loads(pickle.dumps(growing)).pack(events)) == events


def test_what_was_packed_is_not_packed_again(monkeypatch):
    packed = []
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda value: packed.append(value) or dumps(value))
    archive, events = Archive(), []
    for number in range(100):
        events.append(event(number))
        archive.pack(events)
    # each one while it is open and once when it is not
    assert len(packed) == 199


def test_a_log_of_before_is_read_and_goes_on():
    """The form in a checkpoint: the list of events as compressed JSON."""
    import zlib

    events = [event(1), event(2, metrics={"loss": 0.5})]
    old = torch.frombuffer(bytearray(zlib.compress(json.dumps(events).encode())), dtype=torch.uint8)
    log = EventLog()
    log.load_state_dict({"events": old, "dense": {"loss": 1.0}})
    assert log.events == events
    log.events.append(event(3))
    written = log.state_dict()["events"].numpy().tobytes()
    assert json.loads(zlib.decompress(written)) == log.events


def test_a_note_of_many_events_is_told_once(capsys):
    log = EventLog()
    log.console.planned = 21
    for number in range(1, 22):
        log.console.event(number, {**event(number), "epoch": 0, "notes": ["a floor"]})
    said = capsys.readouterr().out
    assert said.count("note: a floor") == 1
    assert said.count("the control prunes nothing") == 4  # the first, two tenths, the last
