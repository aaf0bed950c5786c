"""Commands: one that says exactly the runs of a curve, or all of them."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from pages import report, write

from lightning_prune.page.commands import join, recipe
from lightning_prune.page.curves import find_curves
from lightning_prune.page.reading import read_runs

PARSER = OverridesParser.create()


def runs_of(command: str) -> set[tuple[str, ...]]:
    """The overrides of every run that Hydra would make of a command."""
    program, *overrides = shlex.split(command)
    assert program == "lightning-prune"
    many = overrides[0] == "-m"
    choices = []
    for each in PARSER.parse_overrides(overrides[1:] if many else overrides):
        key = each.get_key_element()
        if each.is_sweep_override():
            assert many
            values = list(each.sweep_string_iterator())
        else:
            values = [each.get_value_element_as_str()]
        choices.append([f"{key}={value}" for value in values])
    return set(itertools.product(*choices))


def grid(*parts: tuple[str, list[str]]) -> list[tuple[str, ...]]:
    choices = ([f"{key}={value}" for value in values] for key, values in parts)
    return list(itertools.product(*choices))


@pytest.mark.parametrize(
    "commands",
    [
        grid(("method", ["set"]), ("schedule.keep", ["0.5", "0.1"]), ("seed", ["0", "1", "2"])),
        grid(("model.widths", ["[11,23,45]", "[6,11,22]"]), ("+data.flip", ["true", "false"])),
        grid(("data.kind", ["'a b'", "c"]), ("name", ["x-1"]), ("seed", ["0", "1"])),
        grid(("method", ["set"]), ("seed", ["3"])),
        grid(("data.augment", ["{pad:4,flip:true}", "null"])),
    ],
    ids=lambda commands: commands[0][0],
)
def test_a_grid_is_one_command_that_hydra_reads_back(commands: list[tuple[str, ...]]):
    joined = join(commands)
    assert joined is not None
    assert (" -m " in joined) == (len(commands) > 1)
    wanted = {
        tuple(
            f"{each.get_key_element()}={each.get_value_element_as_str()}"
            for each in PARSER.parse_overrides(list(run))
        )
        for run in commands
    }
    assert runs_of(joined) == wanted


def test_what_is_no_grid_is_listed(tmp_path: Path):
    for number, (keep, seed) in enumerate([("0.5", 0), ("0.5", 1), ("0.1", 0)]):
        made = report(seed=seed)
        write(tmp_path / str(number), made, f"schedule.keep={keep}", f"seed={seed}")
    (curve,) = find_curves(read_runs([tmp_path]).records)
    told = recipe(curve)
    assert told.lines == (
        "lightning-prune schedule.keep=0.5 seed=0",
        "lightning-prune schedule.keep=0.5 seed=1",
        "lightning-prune schedule.keep=0.1 seed=0",
    )
    assert told.runs == 3


def test_other_keys_are_no_grid():
    assert join([("a=1", "seed=0"), ("seed=1",)]) is None
    assert join([("a=1", "~b"), ("a=2", "~b")]) is None
    assert join([]) is None


def test_without_a_command_the_config_is_named(tmp_path: Path):
    write(tmp_path / "a", report())
    write(tmp_path / "b", report(seed=1))
    (tmp_path / "b" / "config.yaml").unlink()
    (curve,) = find_curves(read_runs([tmp_path]).records)
    told = recipe(curve)
    assert told.lines == ()
    assert [Path(name).relative_to(tmp_path).as_posix() for name in told.configs] == [
        "a/config.yaml",
        "b/report.json",
    ]
