"""What was said when something was refused."""

import re

import pytest
import torch
from classifiers import Classifier, Probe, fit

from lightning_prune import OneShot, Pruning


def pruning(schedule=None, method="magnitude", **options):
    return Pruning(method, schedule or OneShot(1, keep=0.5), verbose=False, **options)


def said(caught):
    """The message, which is one sentence."""
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert not re.search(r"\.\s+[A-Z]", message)
    return message


def refused(callback, module=None, **options):
    """The message of a fit that trained nothing."""
    module = module or Classifier()
    before = [p.detach().clone() for p in module.parameters()]
    steps = Probe("on_train_batch_end", lambda *_: None)
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the message is what is returned
        fit(module, callback, steps, **options)
    assert steps.seen == []
    for parameter, start in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.nan_to_num(), start.nan_to_num())
    return said(caught)
