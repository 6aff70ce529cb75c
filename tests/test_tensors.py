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
    loops = []
    for script in ("tensor/two_layer_net_numpy.py", SCRIPT):
        code = cut(read_lines(ROOT, script), script, True)
        loops.append("\n".join(code).partition("learning_rate = ")[2])
    numpy, tensor = loops
    for old, new in (
        ("np.maximum(h, 0)", "torch.relu(h)"),
        ("np.square", "torch.square"),
        ("{loss:", "{loss.item():"),
    ):
        assert numpy.count(old) == 1
        numpy = numpy.replace(old, new)
    assert numpy == tensor


def test_tensors_are_made_on_the_cpu_and_copied_elsewhere() -> None:
    x = torch.ones(2, 3)
    assert x.device.type == "cpu" and (x @ x.T).device.type == "cpu"
    moved = x.to("meta")
    assert moved is not x and moved.device.type == "meta"
    assert (moved @ moved.T).device.type == "meta"
    assert x.device.type == "cpu" and x.sum() == 6


def test_one_operation_needs_its_tensors_on_one_device(cuda: str) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, 2) @ torch.ones(2, 2, device=cuda)


def test_tensors_are_float32_and_the_loss_has_no_dimensions() -> None:
    loss = run(SCRIPT).names["loss"]
    assert loss.shape == () and loss.dtype == torch.float32
    assert type(loss.item()) is float and loss.item() == loss


def test_float32_beside_float64() -> None:
    array, tensor = np.ones((2, 2)), torch.ones(2, 2)
    assert (array.dtype, tensor.dtype) == (np.float64, torch.float32)
    brought = torch.from_numpy(array)
    assert brought.dtype == torch.float64
    with pytest.raises(RuntimeError, match="same dtype"):
        brought @ tensor
    assert (brought.float() @ tensor).dtype == torch.float32
    for dtype, digits in ((torch.float32, 7), (torch.float64, 16)):
        assert digits - 1 < -np.log10(torch.finfo(dtype).eps) < digits


def test_float32_loses_updates_and_float64_does_not() -> None:
    update = "w1 -= learning_rate * grad_w1\n"
    note = "    kept.append((w1 == old).double().mean().item())\n"
    changes = {
        "learning_rate = 1e-6\n": "learning_rate = 1e-6\nkept = []\n",
        update: f"old = w1.clone()\n    {update}{note}",
    }
    float32 = run(SCRIPT, changes=changes)
    assert float32.names["kept"][350] == pytest.approx(0.78, abs=0.01)
    assert float32.names["kept"][499] == pytest.approx(0.95, abs=0.01)
    float64 = run("faults/float64.diff", changes=changes)
    assert float64.names["kept"][350] < 0.01
    assert float64.losses[499] < float32.losses[499] / 100
    assert abs(float64.losses[0] / float32.losses[0] - 1) > 0.01
