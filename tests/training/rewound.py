"""Runs that rewind to their first weights, alone and as one of two processes."""

import os

import torch
from classifiers import Classifier, Probe, fit
from pytorch_lightning.plugins.environments import LightningEnvironment

from lightning_prune import OneShot, Pruning, Rewind, Steps

SIZE = 287  # parameters of the classifier
KEEP = 0.2
LEFT = int(KEEP * SIZE)


def pruning(schedule=None, **options):
    schedule = schedule or OneShot(1, keep=KEEP)
    return Pruning("magnitude", schedule, **{"verbose": False, **options})


def seeded(seed, make=Classifier):
    torch.manual_seed(seed)
    return make()


def weights_after_events(callback):
    """The state of the module after every event, by its number."""
    seen = {}

    def look(trainer, module):
        if len(callback.events) not in seen:
            seen[len(callback.events)] = {n: p.clone() for n, p in module.state_dict().items()}

    return seen, Probe("on_train_batch_start", look)


def assert_rewound(after, initial):
    """What is not zero is as it was in the beginning."""
    zeros = 0
    for name, start in initial.items():
        gone = after[name] == 0
        assert torch.equal(after[name][~gone], start[~gone]), name
        zeros += int(gone.sum())
    assert zeros > 0


def one_of_two(rank, port):
    """Train as one of two processes, whose modules begin with other weights."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    os.environ.update(WORLD_SIZE="2", NODE_RANK="0")
    callback = pruning(Steps({1: 0.5, 2: KEEP}), rewind=Rewind(to=0, weights=True))
    seen, probe = weights_after_events(callback)
    module = seeded(rank)
    start = module.net[0].weight.clone()
    fit(module, callback, probe, strategy="ddp", devices=2, plugins=[LightningEnvironment()])
    return {"start": start, "after": {str(k): v for k, v in seen.items()},
            "end": module.state_dict()}  # fmt: skip
