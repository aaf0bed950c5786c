"""The order of rooms: a room reads only rooms above it, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lightning_prune"

# who may be read by whom: a room reads its own number and smaller ones
RANKS = {
    "clock": -1,
    "damage": -1,
    "folder": -1,
    "lowrank": -1,
    "network": 0,
    "structures": 1,
    "criteria": 2,
    "thinning": 2,
    "allocations": 3,
    "schedules": 4,
    "report": 4,
    "table": 4,
    "methods": 4,
    "bounds": 5,
    "selection": 5,
    "fold": 5,
    "account": 5,
    "prune": 5,
    "training": 6,
    "evaluation": 6,
    "export": 3,
    "testing": 6,
    "plots": 5,
    "page": 7,
    "cli": 8,
}
# rooms of their own, which read no other
ALONE = ("configs", "models", "data", "solve", "tasks")
# networks of continuous depth are solved, and their likelihoods reported
SOLVED = ("models", "tasks", "evaluation")
# the command asks a data module for its shifted test sets
ASKS_DATA = ("cli",)
# what only wires: public names, and Hydra's plugin
WIRING = ("__init__", "searchpath")
HEAVY = ("torchvision", "torchdyn", "sklearn")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "conf" not in path.parts)


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Full names of what the file imports of this package, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_room_is_known():
    known = {*RANKS, *ALONE, *WIRING}
    assert {room(path) for path in modules()} <= known


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_reads_only_rooms_above_it(path: Path):
    here = room(path)
    if here in WIRING:
        return
    for name in imported(path):
        package, *rest = name.split(".")
        if package != "lightning_prune" or not rest:
            continue
        there = rest[0]
        if there == here or there in ("__version__", "configs"):
            continue
        if there == "solve" and here in SOLVED:
            continue
        if there == "data" and here in ASKS_DATA:
            continue
        assert here in RANKS, f"{here} stands alone and reads {name}"
        # public names of the package are looked up when they are used
        assert there in RANKS, f"{name}: name the module"
        assert RANKS[there] <= RANKS[here], f"{here} reads {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_trainer_is_named_where_it_belongs(path: Path):
    if room(path) in ("training", "cli"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
        assert "Trainer" not in (name, *names), f"line {node.lineno}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_used(path: Path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            roots = {name.split(".")[0] for name in names if name}
            assert roots.isdisjoint(HEAVY), f"line {node.lineno}"


def test_the_core_imports_nothing_heavy():
    code = (
        "import sys, lightning_prune\n"
        "from lightning_prune import LayerFilter, Method, OneShot, PruneReport, methods, prune\n"
        "import lightning_prune.evaluation, lightning_prune.models, lightning_prune.plots\n"
        f"heavy = [name for name in {(*HEAVY, 'pytorch_lightning')} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        # a function and a module have one name: the function is what the package shows
        "assert callable(methods) and callable(prune)\n"
        "import lightning_prune.tasks, lightning_prune.data, lightning_prune.cli.run\n"
        # Lightning brings torchmetrics, which imports torchvision where it finds it
        "heavy = [name for name in ('torchdyn', 'sklearn') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_public_name_wins_over_its_module_in_either_order():
    import lightning_prune

    for name in ("methods", "prune"):
        assert callable(getattr(lightning_prune, name))
        assert getattr(lightning_prune, name).__module__ == f"lightning_prune.{name}"
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        _ = lightning_prune.prunes
    assert set(lightning_prune.__all__) <= set(dir(lightning_prune))
