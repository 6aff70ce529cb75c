"""Tensors beside numpy: the same lines, other digits, what float32 loses."""

import numpy as np
import pytest
import torch

from build_readme import read_code
from harness import ROOT, Run, run, shared_run
from pages import says
from scripts import LAST

SCRIPT = "tensor/two_layer_net_tensor.py"
NUMPY = "tensor/two_layer_net_numpy.py"
FLOAT64 = "faults/float64.diff"


def loop(script: str) -> list[str]:
    """Return the lines of code from the learning rate on."""
    lines = read_code(ROOT, script, only_code=True)
    return lines[lines.index("learning_rate = 1e-6") :]


def test_training_loops_differ_in_the_names_of_functions_alone() -> None:
    translated = [
        line.replace("np.maximum(h, 0)", "torch.relu(h)")
        .replace("np.square", "torch.square")
        .replace("{loss:", "{loss.item():")
        for line in loop(NUMPY)
    ]
    assert translated == loop(SCRIPT)


def test_to_returns_a_copy_elsewhere_and_itself_at_home() -> None:
    says("returns a copy of `x` there, or `x` itself if it is there already")
    x = torch.ones(2)
    assert x.to("meta") is not x
    assert x.to("cpu") is x


def test_operations_run_where_their_tensors_live() -> None:
    x = torch.ones(2, 2, device="meta")
    assert (x @ x).device.type == "meta"


def test_item_is_a_python_number() -> None:
    loss = run(SCRIPT, steps=1).names["loss"]
    assert loss.shape == ()
    assert type(loss.item()) is float


def test_numpy_and_float32_do_not_mix() -> None:
    says("the matrix product of a float64 and a float32 Tensor raises")
    brought = torch.from_numpy(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="same dtype"):
        brought @ torch.ones(2, 2)


def test_digits_of_the_two_dtypes() -> None:
    says("float32 keeps about seven digits, float64 about sixteen")
    for dtype, digits in ((torch.float32, 7), (torch.float64, 16)):
        assert -np.log10(torch.finfo(dtype).eps) == pytest.approx(
            digits, abs=0.5
        )


@pytest.fixture(scope="module")
def two_orders() -> list[Run]:
    """The script, and the script with its sums in another order."""
    turned = {"h = x @ w1": "h = x.flip(1) @ w1.flip(0)"}
    return [shared_run(SCRIPT), run(SCRIPT, changes=turned)]


def test_first_losses_agree_and_last_ones_do_not(two_orders) -> None:
    says("the first losses agree in most digits and the last ones in few")
    one, other = (result.losses for result in two_orders)
    assert other[0] == pytest.approx(one[0], rel=1e-5)
    assert other[LAST] != pytest.approx(one[LAST], rel=1e-4)


def loss_to(result: Run, y: torch.Tensor) -> float:
    """Return the loss of the trained net, measured to some target."""
    names = result.names
    y_pred = torch.relu(names["x"] @ names["w1"]) @ names["w2"]
    return (y_pred - y).square().sum().item()


def test_tiny_differences_are_why(two_orders) -> None:
    says("the loss is made of their tiny differences, where rounding matters")
    # To a target that is far away, the two nets have the same loss.
    far = two_orders[0].names["y"] + 1
    one, other = (loss_to(result, far) for result in two_orders)
    assert other == pytest.approx(one, rel=1e-5)


def lost_updates(result: Run) -> list[float]:
    """Return the share of w1 that each step leaves exactly as it is."""
    return [float(line) for line in result.lines if "step" not in line]


SHOW_LOST = {
    "    w1 -= ": (
        "    lost = (w1 - learning_rate * grad_w1 == w1) & (grad_w1 != 0)\n"
        "    print(lost.double().mean().item())\n"
        "    w1 -= "
    )
}


def test_float32_loses_updates() -> None:
    share = lost_updates(run(SCRIPT, changes=SHOW_LOST))
    early, percent, late, more = says(
        "the update at step {} leaves {} % of the entries of `w1` exactly as "
        "they were, and the update at step {} leaves {} %"
    )
    assert 100 * share[int(early)] == pytest.approx(percent, abs=1)
    assert 100 * share[int(late)] == pytest.approx(more, abs=1)
    assert late == LAST


def test_float64_loses_none() -> None:
    assert max(lost_updates(run(FLOAT64, changes=SHOW_LOST))) < 0.001


def test_lost_updates_are_why_float32_ends_higher() -> None:
    # The passes stay in float32; only the updates are added in float64.
    no_update_lost = {
        "learning_rate = 1e-6\n": (
            "learning_rate = 1e-6\nexact1, exact2 = w1.double(), w2.double()\n"
        ),
        "    w1 -= learning_rate * grad_w1\n": (
            "    exact1 -= learning_rate * grad_w1\n    w1 = exact1.float()\n"
        ),
        "    w2 -= learning_rate * grad_w2": (
            "    exact2 -= learning_rate * grad_w2\n    w2 = exact2.float()"
        ),
    }
    end = run(SCRIPT, changes=no_update_lost).losses[LAST]
    assert end < shared_run(SCRIPT).losses[LAST] / 10
    assert end < 5 * run(FLOAT64).losses[LAST]


def test_float64_ends_lower_with_the_same_numbers() -> None:
    says("A hundred times lower, from the same random numbers.")
    ratio = shared_run(SCRIPT).losses[LAST] / run(FLOAT64).losses[LAST]
    assert 50 < ratio < 200


def test_how_much_lower_depends_on_the_seed() -> None:
    low, high = says(
        "with the six seeds from 0 to 5, float64 ends between {} and {} "
        "times lower"
    )
    ratios = [
        run(SCRIPT, seed=seed).losses[LAST]
        / run(FLOAT64, seed=seed).losses[LAST]
        for seed in range(6)
    ]
    assert min(ratios) == pytest.approx(low, rel=0.1)
    assert max(ratios) == pytest.approx(high, rel=0.1)


SCALED = {
    "w1 = torch.randn(D_in, H, device=device)": (
        "w1 = (2 / D_in) ** 0.5 * torch.randn(D_in, H, device=device)"
    ),
    "w2 = torch.randn(H, D_out, device=device)": (
        "w2 = (2 / H) ** 0.5 * torch.randn(H, D_out, device=device)"
    ),
    "learning_rate = 1e-6": "learning_rate = 2e-4",
}


@pytest.mark.parametrize("seed", range(4))
def test_smaller_weights_take_the_floor_away(seed: int) -> None:
    *twos, rate, loss = says(
        "Scale them down, `w1` by √({} / D_in) and `w2` by √({} / H), and use "
        "a rate of {}: then the loss falls below {} in float32 too, with each "
        "of four seeds."
    )
    result = run(SCRIPT, seed=seed, changes=SCALED)
    assert twos == [2, 2]
    assert result.names["learning_rate"] == rate
    assert result.losses[LAST] < loss


def test_the_finer_last_digit_is_why() -> None:
    says("since a smaller weight has a finer last digit")
    # Round the small weights to the last digit of numbers near 1.
    rounded = {
        "    w1 -= learning_rate * grad_w1\n": (
            "    w1 -= learning_rate * grad_w1\n"
            "    w1 = (w1 * 2**23).round() / 2**23\n"
        ),
        "    w2 -= learning_rate * grad_w2": (
            "    w2 -= learning_rate * grad_w2\n"
            "    w2 = (w2 * 2**23).round() / 2**23"
        ),
    }
    fine = run(SCRIPT, changes=SCALED).losses[LAST]
    coarse = run(SCRIPT, changes=SCALED | rounded).losses[LAST]
    assert coarse > 100 * fine
