"""The custom ReLU, and what the page says of such functions."""

import inspect
import math

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from harness import graph_functions, run, shared_run
from pages import blocks, says
from scripts import LAST

SCRIPT = "autograd/two_layer_net_custom_function.py"
FORGOTTEN = "faults/no_mask.diff"


@pytest.fixture(scope="module")
def MyReLU() -> type:
    return run(SCRIPT, steps=0).names["MyReLU"]


@pytest.fixture
def h() -> torch.Tensor:
    return torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)


@pytest.mark.parametrize("shape", [(), (3,), (5, 4), (2, 3, 2)])
def test_custom_relu_passes_gradcheck(MyReLU, shape) -> None:
    h = torch.randn(shape, dtype=torch.float64)
    h = (h + 0.1 * h.sign()).requires_grad_()  # Away from 0.
    assert torch.autograd.gradcheck(MyReLU.apply, h)


def test_forward_is_relu(MyReLU, h) -> None:
    assert torch.equal(MyReLU.apply(h), torch.relu(h))


def backward(function, h: torch.Tensor, grad_output: list) -> list:
    """Return the gradient with respect to h, given that of the output."""
    (grad,) = torch.autograd.grad(
        function(h), h, grad_outputs=torch.tensor(grad_output)
    )
    return grad.tolist()


def test_backward_passes_positive_inputs_and_uses_0_at_0(MyReLU, h) -> None:
    says("At exactly 0, ReLU has no derivative; like `torch.relu`, we use 0.")
    assert backward(MyReLU.apply, h, [3.0, 4.0, 5.0]) == [0, 0, 5]
    assert backward(torch.relu, h, [3.0, 4.0, 5.0]) == [0, 0, 5]


def test_infinite_gradient_stops_at_a_negative_input(MyReLU, h) -> None:
    assert backward(MyReLU.apply, h, [math.inf, 0.0, 0.0]) == [0, 0, 0]


def test_a_product_with_the_mask_would_make_it_nan(h) -> None:
    assert math.isnan((math.inf * (h > 0))[0])


def test_backward_leaves_grad_output_as_it_was(MyReLU, h) -> None:
    grad_output = torch.tensor([3.0, 4.0, 5.0])
    MyReLU.apply(h).backward(grad_output)
    assert grad_output.tolist() == [3, 4, 5]


def test_apply_records_the_function_in_the_graph() -> None:
    loss = run(SCRIPT, steps=1).names["loss"]
    assert "MyReLUBackward" in graph_functions(loss)


@pytest.mark.parametrize("method", ["forward", "setup_context", "backward"])
def test_methods_are_static(MyReLU, method) -> None:
    assert isinstance(vars(MyReLU)[method], staticmethod)


def test_prints_the_losses_of_the_autograd_script() -> None:
    says("It prints the same losses again.")
    autograd = shared_run("autograd/two_layer_net_autograd.py")
    assert shared_run(SCRIPT).lines == autograd.lines


def test_older_form_does_both_jobs_in_forward(h) -> None:
    class Power(torch.autograd.Function):
        @staticmethod
        def forward(ctx, h, n):
            ctx.save_for_backward(h)
            ctx.n = n
            return h**n

        @staticmethod
        def backward(ctx, grad_output):
            (h,) = ctx.saved_tensors
            return ctx.n * h ** (ctx.n - 1) * grad_output, None

    Power.apply(h, 3).sum().backward()
    assert h.grad.tolist() == [3, 0, 12]


# The exercise.


def with_the_check(name: str):
    """Run a script with the page's lines for gradcheck below its class."""
    (check,) = [
        block
        for _, block in blocks("README_raw.md", "python")
        if "gradcheck" in block
    ]
    check = check.replace("exit()\n", "raise RuntimeError('the end')\n")
    seed = "torch.manual_seed(0)\n"
    return run(name, changes={seed: f"{seed}{check}"}, may_fail=True)


def test_check_prints_true_and_does_not_train() -> None:
    says("It returns `True`, or raises an error if the two differ.")
    result = with_the_check(SCRIPT)
    assert result.lines == ["True"]
    assert result.stderr == ["RuntimeError: the end"]


def test_check_sees_the_forgotten_mask() -> None:
    says(
        "`GradcheckError: Jacobian mismatch for output 0 with respect to "
        "input 0`"
    )
    (error,) = with_the_check(FORGOTTEN).stderr
    message = "Jacobian mismatch for output 0 with respect to input 0"
    assert error.partition("GradcheckError: ")[2].startswith(message)


def test_check_needs_float64(MyReLU) -> None:
    (eps,) = says(
        "the default finite-difference step of {} drowns in the rounding"
    )
    parameters = inspect.signature(torch.autograd.gradcheck).parameters
    assert parameters["eps"].default == eps
    h = torch.tensor([-1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="not a double precision"):
        with pytest.raises(GradcheckError):
            torch.autograd.gradcheck(MyReLU.apply, h)


def test_a_larger_step_takes_that_reason_away(MyReLU) -> None:
    h = torch.tensor([-1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="not a double precision"):
        assert torch.autograd.gradcheck(MyReLU.apply, h, eps=1e-2, atol=1e-3)


def test_check_fails_at_0_though_backward_is_right(MyReLU) -> None:
    says("And keep `h` away from 0, where ReLU has no derivative.")
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(MyReLU.apply, h)


def test_losses_do_not_see_the_forgotten_mask() -> None:
    says("They fall, and with this seed they end even lower than the right")
    assert run(FORGOTTEN).losses[LAST] < shared_run(SCRIPT).losses[LAST]


def test_forgotten_mask_spoils_the_gradient_of_w1_alone() -> None:
    (examples,) = says("and the net memorises its {} examples all the same")
    wrong = run(FORGOTTEN, steps=1).names
    right = run(SCRIPT, steps=1).names
    assert torch.equal(wrong["w2"].grad, right["w2"].grad)
    assert not torch.allclose(wrong["w1"].grad, right["w1"].grad)
    assert len(right["x"]) == examples
