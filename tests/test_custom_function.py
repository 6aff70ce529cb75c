"""The custom ReLU, and what the page says of such operators."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from harness import ROOT, run

SCRIPT = "autograd/two_layer_net_custom_function.py"


@pytest.fixture(scope="module")
def custom():
    """What the custom function script leaves, its MyReLU among it."""
    return run(SCRIPT, dtype="float64").names


@pytest.fixture
def h() -> torch.Tensor:
    return torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)


def test_custom_relu_passes_gradcheck_away_from_0(custom) -> None:
    for shape in ((), (3,), (5, 4), (2, 3, 2)):
        h = torch.randn(shape, dtype=torch.float64)
        h = (h.sign() * (h.abs() + 0.1)).requires_grad_()
        assert torch.autograd.gradcheck(custom["MyReLU"].apply, h)
        expected = h.detach().clamp(min=0)
        assert torch.equal(custom["MyReLU"].apply(h), expected)


def test_forgotten_mask_is_seen_by_gradcheck_and_not_by_the_losses() -> None:
    wrong, right = run("faults/no_mask.diff"), run(SCRIPT)
    assert wrong.losses[499] < right.losses[499] < 1e-9 * wrong.losses[0]
    apply = wrong.names["MyReLU"].apply
    w1, w2 = torch.randn(5, 4), torch.randn(4, 3)
    gradients = []
    for relu in (apply, torch.relu):
        leaves = [w.clone().requires_grad_() for w in (w1, w2)]
        loss = (relu(torch.ones(2, 5) @ leaves[0]) @ leaves[1]).square().sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    assert torch.equal(gradients[0][1], gradients[1][1])
    assert not torch.allclose(gradients[0][0], gradients[1][0])
    h = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(
        GradcheckError,
        match="^Jacobian mismatch for output 0 with respect to input 0",
    ):
        torch.autograd.gradcheck(apply, h)


def test_custom_relu_is_used_by_the_net(custom) -> None:
    assert issubclass(custom["MyReLU"], torch.autograd.Function)
    assert type(custom["h_relu"].grad_fn).__name__ == "MyReLUBackward"
    assert (ROOT / SCRIPT).read_text("utf-8").count(".apply(h)") == 1


def test_no_instance_is_made_and_nothing_recorded_in_forward(custom) -> None:
    seen = []

    class Spy(custom["MyReLU"]):
        @staticmethod
        def forward(h):
            seen.append((torch.is_grad_enabled(), (h * 2).grad_fn))
            return custom["MyReLU"].forward(h)

    Spy.__init__ = lambda self: seen.append("made")
    Spy.apply(torch.ones(2, requires_grad=True)).sum().backward()
    assert seen == [(False, None)]
    for name in ("forward", "setup_context", "backward"):
        assert isinstance(vars(custom["MyReLU"])[name], staticmethod)


def test_context_takes_tensors_and_attributes_in_either_form(h) -> None:
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, h, factor, saved):
            ctx.save_for_backward(saved)
            ctx.factor = factor
            return factor * h

        @staticmethod
        def backward(ctx, grad_output):
            assert ctx.saved_tensors[0] is h
            return ctx.factor * grad_output, None, None

    Scaled.apply(h, 3.0, h).sum().backward()
    assert h.grad.tolist() == [3, 3, 3]
    with pytest.raises(TypeError, match="can only save variables"):
        Scaled.apply(h, 3.0, "no Tensor")


def test_custom_relu_has_gradient_0_at_0_like_torch_relu(custom) -> None:
    for relu in (custom["MyReLU"].apply, torch.relu):
        h = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
        output = relu(h)
        assert output.tolist() == [0.0, 0.0, 2.0]
        output.sum().backward()
        assert h.grad.tolist() == [0.0, 0.0, 1.0]


def test_backward_is_handed_the_gradient_and_leaves_it_be(custom, h) -> None:
    handed = torch.tensor([3.0, 4.0, 5.0])
    returned = custom["MyReLU"].backward(
        SimpleNamespace(saved_tensors=(h,)), handed
    )
    assert handed.tolist() == [3, 4, 5] and returned.tolist() == [0, 0, 5]
    output = custom["MyReLU"].apply(h)
    output.retain_grad()
    (output * torch.tensor([3.0, 4.0, 5.0])).sum().backward()
    assert output.grad.tolist() == [3.0, 4.0, 5.0]
    assert h.grad.tolist() == [0.0, 0.0, 5.0]


def test_custom_relu_works_inside_torch_func_grad(custom) -> None:
    def loss(h):
        return (3 * custom["MyReLU"].apply(h)).sum()

    gradient = torch.func.grad(loss)(torch.tensor([-1.0, 0.0, 2.0]))
    assert gradient.tolist() == [0.0, 0.0, 3.0]
