"""The wheel, installed alone: the command runs from any folder, and other apps find our groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

APP = """
import hydra
from hydra.utils import instantiate

import lightning_prune

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    print(lightning_prune.__file__)
    print(instantiate(cfg.schedule))
    print(cfg.method.structure._target_, cfg.logger)

main()
"""
CONFIG = """
defaults: [method: filter_norm, schedule: one_shot, logger: csv, _self_]
schedule: {epoch: 3}
"""


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command without a trace of the checkout in its environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building without a network needs hatchling installed")
    folder = tmp_path_factory.mktemp("dist")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, checkout)
    call(sys.executable, *build, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel alone; it borrows dependencies, but not the checkout."""
    home = tmp_path_factory.mktemp("installed")
    call(sys.executable, "-m", "venv", home, cwd=home)
    python = home / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    # what a .pth file names comes after this environment, and .pth files in there (an editable
    # install of the checkout) are not read
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home


def test_the_wheel_holds_the_package_its_configs_and_hydras_plugin(wheel: Path, checkout: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    number = wheel.name.split("-")[1]
    assert tops == {"lightning_prune", "hydra_plugins", f"lightning_prune-{number}.dist-info"}
    configs = [path.relative_to(checkout) for path in (checkout / "conf").rglob("*.yaml")]
    assert {f"lightning_prune/{path.as_posix()}" for path in configs} <= names
    assert "lightning_prune/py.typed" in names
    assert "hydra_plugins/lightning_prune_searchpath.py" in names
    assert not any(name.startswith("hydra_plugins/__init__") for name in names)


def test_the_command_runs_from_another_folder(installed: Path, tmp_path: Path):
    code = "import lightning_prune.configs as c; print(c.__file__, c.CONF)"
    places = call(installed / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert all(place.startswith(str(installed)) for place in places), places
    command = installed / "bin" / "lightning-prune"
    told = call(command, "trainer=debug", "data=synthetic", cwd=tmp_path)
    assert "keep 0.10 (sparsity 0.90)" in told
    (found,) = tmp_path.glob("outputs/default/*/0/report.json")
    assert json.loads(found.read_text())["events"][-1]["keep_target"] == pytest.approx(0.1)


def test_somebodys_own_app_finds_our_groups(installed: Path, tmp_path: Path):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    # a group of the same name: the app's own file wins
    (tmp_path / "conf" / "logger" / "csv.yaml").write_text("mine: true\n")
    python = installed / "bin" / "python"
    place, schedule, rest = call(python, "app.py", "schedule.keep=0.25", cwd=tmp_path).splitlines()
    assert place.startswith(str(installed))
    assert schedule == "OneShot(epoch=3, keep=0.25, unit='epoch')"
    assert rest == "lightning_prune.structures.Filters {'mine': True}"
    shown = call(python, "app.py", "--info", "searchpath", cwd=tmp_path)
    assert shown.count("lightning_prune/conf") == 1
