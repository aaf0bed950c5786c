"""Random streams: the one place that saves them and sets them back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of torch, CUDA, numpy and python, as tensors, numbers, strings and lists."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(cuda),
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.array(keys).view(np.int32)),
            "rest": [int(position), int(has_gauss), float(gauss)],
        },
        "python": {
            "version": version,
            "internal": torch.from_numpy(np.array(internal, np.uint32).view(np.int32)),
            "gauss": gauss_next,
        },
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Continue the streams where `random_state` found them."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    numpy, python = state["numpy"], state["python"]
    position, has_gauss, gauss = numpy["rest"]
    keys = numpy["keys"].numpy().view(np.uint32)
    np.random.set_state((numpy["name"], keys, int(position), int(has_gauss), float(gauss)))
    internal = tuple(python["internal"].numpy().view(np.uint32).tolist())
    random.setstate((python["version"], internal, python["gauss"]))


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever is drawn inside, the streams continue afterwards where they were."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
