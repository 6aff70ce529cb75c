"""The custom ReLU, and what the page says of such operators."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from harness import graph_functions, run

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
    assert run(fault).losses[499] < run(SCRIPT).losses[499] < 1e-3
    wrong, right = (run(s, changes=first).names for s in (fault, SCRIPT))
    assert torch.equal(wrong["w2"].grad, right["w2"].grad)
    assert not torch.allclose(wrong["w1"].grad, right["w1"].grad)
    h = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    mismatch = "^Jacobian mismatch for output 0 with respect to input 0"
    with pytest.raises(GradcheckError, match=mismatch):
        torch.autograd.gradcheck(wrong["MyReLU"].apply, h)


def test_apply_puts_the_class_itself_into_the_graph(script) -> None:
    graph = "Sum Pow Sub Mm MyReLUBackward AccumulateGrad Mm AccumulateGrad"
    assert graph_functions(script.loss) == graph.split()
    relu = "torch.relu(h)"
    note = {f"return {relu}": f"print({relu}.grad_fn)\n        return {relu}"}
    assert run(SCRIPT, changes=note).lines.count("None") == 500
    # Making an instance warns, and no run of the script does.
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        script.MyReLU()
    for name in ("forward", "setup_context", "backward"):
        assert isinstance(vars(script.MyReLU)[name], staticmethod)


def test_backward_turns_one_gradient_into_another_as_torch_relu(script, h):
    for relu in (script.MyReLU.apply, torch.relu):
        output, backward = torch.func.vjp(relu, h)
        assert output.tolist() == [0, 0, 2]
        grad_output = torch.tensor([3.0, 4.0, 5.0])
        assert backward(grad_output)[0].tolist() == [0, 0, 5]
        assert grad_output.tolist() == [3, 4, 5]


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
