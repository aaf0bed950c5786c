import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_prune.models import ResNet


def size(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# He et al. (2015), table 6: 0.27 M and 0.85 M; option B after Liebenwein et al., counted exactly
@pytest.mark.parametrize(
    ("depth", "shortcut", "parameters"),
    [(20, "A", 269_722), (56, "A", 853_018), (110, "A", 1_727_962), (20, "B", 272_474)],
)
def test_parameter_counts_of_the_literature(depth, shortcut, parameters):
    assert size(ResNet(depth, shortcut=shortcut)) == parameters


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("image", [(1, 8, 8), (3, 32, 32), (3, 31, 17), (1, 2, 2)])
@pytest.mark.parametrize("widths", [(4, 8, 16), (4, 7, 10), (6, 6, 6), (3, 5)])
def test_any_image_size_and_widths(shortcut, image, widths):
    net = ResNet(2 + 2 * len(widths), widths, classes=7, channels=image[0], shortcut=shortcut)
    assert net(torch.randn(2, *image)).shape == (2, 7)


def test_shortcut_a_takes_every_second_pixel_and_pads_evenly():
    shortcut = ResNet(8, (4, 7, 14)).stages[1][0].shortcut
    x = torch.randn(2, 4, 6, 6)
    y = shortcut(x)
    assert sum(1 for _ in shortcut.parameters()) == 0
    assert torch.equal(y[:, 1:5], x[:, :, ::2, ::2])  # three new channels: one before, two behind
    assert not y[:, :1].any()
    assert not y[:, 5:].any()


def test_a_trace_sees_the_slice_and_the_new_channels_of_shortcut_a():
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Watch():
        ResNet(8, (4, 8, 16))(torch.randn(1, 3, 8, 8))
    assert {torch.ops.aten.slice, torch.ops.aten.cat} <= seen


def test_stem_stride_halves_the_image():
    net, shapes = ResNet(8, (4, 8, 16), stem_stride=2), []
    net.stages[0].register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    net(torch.randn(1, 3, 32, 32))
    assert shapes == [(1, 4, 16, 16)]


def test_export_and_compile_follow_the_network():
    net = ResNet(8, (4, 8, 16)).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(torch.export.export(net, (x,)).module()(x), net(x))


@pytest.mark.parametrize("depth", [2, 9, 18, 0, -4])
def test_a_depth_that_is_no_resnet_is_refused(depth):
    with pytest.raises(ValueError, match=r"depth 6n \+ 2 \(8, 14, 20, ...\), got depth="):
        ResNet(depth)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='use shortcut="B"'):
        ResNet(8, (16, 8, 4))
    with pytest.raises(ValueError, match="knows the shortcuts"):
        ResNet(8, shortcut="C")
    with pytest.raises(ValueError, match="at least 1"):
        ResNet(8, classes=0)
    ResNet(8, (16, 8, 4), shortcut="B")
