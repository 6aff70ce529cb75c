"""The custom ReLU, and what the page says of such operators."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from harness import ROOT, run

SCRIPT = "autograd/two_layer_net_custom_function.py"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    """What the custom function script leaves, its MyReLU among it."""
    return SimpleNamespace(**run(SCRIPT, dtype="float64").names)


@pytest.fixture
def h() -> torch.Tensor:
    return torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)


def test_custom_relu_passes_gradcheck_away_from_0(script) -> None:
    for shape in ((), (3,), (5, 4), (2, 3, 2)):
        h = torch.randn(shape, dtype=torch.float64)
        h = (h + 0.1 * h.sign()).requires_grad_()
        assert torch.autograd.gradcheck(script.MyReLU.apply, h)
        assert torch.equal(script.MyReLU.apply(h), h.clamp(min=0))


def test_forgotten_mask_is_seen_by_gradcheck_and_not_by_the_losses() -> None:
    fault, first = "faults/no_mask.diff", {"range(500)": "range(1)"}
    wrong, right = run(fault), run(SCRIPT)
    assert wrong.losses[499] < right.losses[499] < 1e-9 * wrong.losses[0]
    one, other = (run(s, changes=first).names for s in (fault, SCRIPT))
    assert torch.equal(one["w2"].grad, other["w2"].grad)
    assert not torch.allclose(one["w1"].grad, other["w1"].grad)
    h = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    mismatch = "^Jacobian mismatch for output 0 with respect to input 0"
    with pytest.raises(GradcheckError, match=mismatch):
        torch.autograd.gradcheck(wrong.names["MyReLU"].apply, h)


def test_custom_relu_is_used_by_the_net(script) -> None:
    assert issubclass(script.MyReLU, torch.autograd.Function)
    assert type(script.h_relu.grad_fn).__name__ == "MyReLUBackward"
    assert (ROOT / SCRIPT).read_text("utf-8").count(".apply(h)") == 1


def test_autograd_calls_forward_and_backward_of_the_class(script, h) -> None:
    relu, seen = script.MyReLU, []

    class Spy(relu):
        def __init__(self):
            seen.append("an instance")

        @staticmethod
        def forward(h):
            seen.append((2 * h).grad_fn)
            return relu.forward(h)

        @staticmethod
        def backward(ctx, grad_output):
            seen.append(grad_output)
            return relu.backward(ctx, grad_output)

    (Spy.apply(h) * torch.tensor([3.0, 4.0, 5.0])).sum().backward()
    recorded, handed = seen
    assert recorded is None and handed.tolist() == [3, 4, 5]
    assert h.grad.tolist() == [0, 0, 5]
    for name in ("forward", "setup_context", "backward"):
        assert isinstance(vars(relu)[name], staticmethod)


def test_context_takes_tensors_and_attributes_in_either_form(h) -> None:
    class Power(torch.autograd.Function):
        @staticmethod
        def forward(ctx, h, n, *more):
            ctx.save_for_backward(h, *more)
            ctx.n = n
            return h**n

        @staticmethod
        def backward(ctx, grad_output):
            (h,) = ctx.saved_tensors
            return ctx.n * h ** (ctx.n - 1) * grad_output, None

    Power.apply(h, 3).sum().backward()
    assert h.grad.tolist() == [3, 0, 12]
    with pytest.raises(TypeError, match="can only save variables"):
        Power.apply(h, 3, "no Tensor")


def test_custom_relu_has_gradient_0_at_0_like_torch_relu(script, h) -> None:
    for relu in (script.MyReLU.apply, torch.relu):
        output, backward = torch.func.vjp(relu, h)
        assert output.tolist() == [0, 0, 2]
        assert backward(torch.ones(3))[0].tolist() == [0, 0, 1]
