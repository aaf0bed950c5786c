import pytest
import torch

from lightning_prune import prune
from lightning_prune.models import TextEncoder


def test_size_by_hand():
    net = TextEncoder(vocabulary=20, classes=3, length=10, width=8, depth=1, heads=2, hidden=12)
    block = 4 * (64 + 8) + (8 * 12 + 12) + (12 * 8 + 8) + 2 * 16
    assert sum(p.numel() for p in net.parameters()) == 30 * 8 + block + 16 + 8 * 3 + 3


@pytest.mark.parametrize(("outputs", "shape"), [("tokens", (2, 4, 3)), ("sequence", (2, 3))])
def test_padding_changes_nothing(outputs, shape):
    net = TextEncoder(20, 3, length=10, width=8, outputs=outputs).eval()
    ids = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]])
    logits, padded = net(ids), net(torch.nn.functional.pad(ids, (0, 5)))
    assert logits.shape == shape
    padded = padded[:, :4] if outputs == "tokens" else padded
    assert torch.allclose(logits, padded, atol=1e-6)
    assert net(torch.zeros_like(ids)).isfinite().all()


def test_weights_leave():
    net = TextEncoder(20, 3, length=10, width=8)
    size = sum(p.numel() for p in net.parameters())
    prune(net, "magnitude", 0.6)
    assert sum(int(p.count_nonzero()) for p in net.parameters()) <= 0.6 * size + 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"pass length=11\."):
        TextEncoder(20, 3, length=10)(torch.ones(1, 11, dtype=torch.long))
    with pytest.raises(ValueError, match="heads divide"):
        TextEncoder(20, 3, width=9, heads=2)
