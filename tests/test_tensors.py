"""What the page says of Tensors, devices and float32."""

import numpy as np
import pytest
import torch

from build_readme import cut, read_lines
from harness import ROOT, run

SCRIPT = "tensor/two_layer_net_tensor.py"


def test_scripts_correspond_line_by_line() -> None:
    with pytest.raises(ValueError, match="step must be greater than zero"):
        torch.ones(3)[::-1]
    assert torch.arange(3).flip(0).tolist() == [2, 1, 0]
    numpy, tensor = (
        "\n".join(cut(read_lines(ROOT, script), script, True))
        for script in ("tensor/two_layer_net_numpy.py", SCRIPT)
    )
    numpy = numpy.replace("np.maximum(h, 0)", "torch.relu(h)")
    numpy = numpy.replace("np.", "torch.").replace("{loss:", "{loss.item():")
    assert numpy.split("rate = ")[1] == tensor.split("rate = ")[1]


def test_tensors_are_made_on_the_cpu_and_copied_elsewhere() -> None:
    x = torch.ones(2, 3)
    for tensor, device in ((x.to("meta"), "meta"), (x, "cpu")):
        product = tensor @ tensor.T
        assert tensor.device.type == product.device.type == device


def test_tensors_are_float32_and_the_loss_has_no_dimensions() -> None:
    loss = run(SCRIPT).names["loss"]
    assert loss.shape == () and loss.dtype == torch.float32
    assert type(loss.item()) is float and loss.item() == loss


def test_float32_beside_float64() -> None:
    brought, tensor = torch.from_numpy(np.ones((2, 2))), torch.ones(2, 2)
    assert (brought.dtype, tensor.dtype) == (torch.float64, torch.float32)
    with pytest.raises(RuntimeError, match="same dtype"):
        brought @ tensor
    assert (brought.float() @ tensor).dtype == torch.float32
    for dtype, digits in ((torch.float32, 7), (torch.float64, 16)):
        assert digits - 1 < -np.log10(torch.finfo(dtype).eps) < digits


def test_float32_loses_updates() -> None:
    lost = "(w1 - learning_rate * grad_w1 == w1) & (grad_w1 != 0)"
    note = f"    print(({lost}).double().mean().item())\n    w1 -= "
    lines = run(SCRIPT, changes={"    w1 -= ": note}).lines
    share = [float(line) for line in lines if "step" not in line]
    assert (share[350], share[499]) == pytest.approx((0.78, 0.95), abs=0.01)
