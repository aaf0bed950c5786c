"""What every test stands on: one seed, one thread, and where the data are."""

from __future__ import annotations

import os
import random
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
DATA = "LIGHTNING_PRUNE_DATA"

mpl.use("Agg")
# before a test changes its folder; where the variable is unset, beside the checkout
os.environ[DATA] = str((ROOT / os.environ.get(DATA, "../shared/data")).resolve())


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small nets are not faster with more, and sums are then the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    """The same random streams for every test, whatever ran before it."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the official image files; the test is skipped where it is missing."""
    root = Path(os.environ[DATA])
    if not root.is_dir():
        pytest.skip(f"{DATA}={root} is no folder, so there are no official files to read")
    return root


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder of the sources."""
    return ROOT
