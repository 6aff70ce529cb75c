"""What the README says about autograd, and the custom ReLU."""

import pytest
import torch

from harness import run


@pytest.fixture(scope="module")
def script():
    """What the autograd script leaves: its Tensors, after 500 steps."""
    return run("autograd/two_layer_net_autograd.py", dtype="float64").names


@pytest.fixture(scope="module")
def custom():
    """What the custom function script leaves, its ReLU among it."""
    path = "autograd/two_layer_net_custom_function.py"
    return run(path, dtype="float64").names


@pytest.fixture
def w() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 3.0], requires_grad=True)


def test_gradients_have_the_shapes_of_their_tensors(script) -> None:
    for name in ("w1", "w2"):
        assert script[name].is_leaf and script[name].requires_grad
        assert script[name].grad.shape == script[name].shape
    assert script["x"].grad is None and not script["x"].requires_grad


def test_graph_has_functions_between_tensors(script) -> None:
    function = script["loss"].grad_fn
    names = []
    while function is not None:
        names.append(type(function).__name__)
        function = next((f for f, _ in function.next_functions if f), None)
    assert names == [
        "SumBackward0",
        "PowBackward0",
        "SubBackward0",
        "MmBackward0",
        "ReluBackward0",
        "MmBackward0",
        "AccumulateGrad",
    ]


def test_gradients_add_up_over_two_backward_passes(w) -> None:
    w.square().sum().backward()
    once = w.grad.clone()
    w.square().sum().backward()
    assert torch.equal(w.grad, 2 * once)
    w.grad = None
    w.square().sum().backward()
    assert torch.equal(w.grad, once)


def test_update_in_place_outside_no_grad_raises(w) -> None:
    w.square().sum().backward()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires"):
        w -= 0.1 * w.grad


def test_update_by_assignment_inside_no_grad_loses_requires_grad(w) -> None:
    w.square().sum().backward()
    with torch.no_grad():
        w = w - 0.1 * w.grad
    assert not w.requires_grad
    other = torch.ones(3, requires_grad=True)
    (w * other).sum().backward()
    assert w.grad is None and other.grad is not None
    with pytest.raises(RuntimeError, match="does not require grad"):
        w.square().sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is")
def test_update_by_assignment_outside_no_grad_makes_a_non_leaf(w) -> None:
    w.square().sum().backward()
    w = w - 0.1 * w.grad
    assert w.requires_grad and not w.is_leaf
    w.square().sum().backward()
    assert w.grad is None


def test_update_in_place_inside_no_grad_keeps_the_leaf(w) -> None:
    w.square().sum().backward()
    before = w.detach().clone()
    with torch.no_grad():
        w -= 0.1 * w.grad
    assert w.is_leaf and w.requires_grad
    assert torch.allclose(w, 0.8 * before)


def test_no_graph_is_recorded_under_no_grad(w) -> None:
    with torch.no_grad():
        loss = w.square().sum()
    assert loss.grad_fn is None and not loss.requires_grad
    assert w.square().sum().grad_fn is not None


def test_data_hides_a_change_that_no_grad_lets_autograd_see(w) -> None:
    loss = w.square().sum()
    with torch.no_grad():
        w += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    loss, before = w.square().sum(), w.detach().clone()
    w.data += 1
    loss.backward()
    assert not torch.equal(w.grad, 2 * before)


def test_graph_is_gone_after_backward(w) -> None:
    loss = w.square().sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a sec"):
        loss.backward()


def test_custom_relu_passes_gradcheck_away_from_0(custom) -> None:
    h = torch.randn(5, 4, dtype=torch.float64)
    h = (h.sign() * (h.abs() + 0.1)).requires_grad_()
    assert torch.autograd.gradcheck(custom["MyReLU"].apply, h)


def test_custom_relu_is_used_by_the_net(custom) -> None:
    assert type(custom["h_relu"].grad_fn).__name__ == "MyReLUBackward"


def test_custom_relu_has_gradient_0_at_0_like_torch_relu(custom) -> None:
    for relu in (custom["MyReLU"].apply, torch.relu):
        h = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
        output = relu(h)
        assert output.tolist() == [0.0, 0.0, 2.0]
        output.sum().backward()
        assert h.grad.tolist() == [0.0, 0.0, 1.0]


def test_custom_relu_leaves_grad_output_as_it_was(custom) -> None:
    h = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    grad_output = torch.tensor([3.0, 4.0, 5.0])
    custom["MyReLU"].apply(h).backward(grad_output)
    assert grad_output.tolist() == [3.0, 4.0, 5.0]
    assert h.grad.tolist() == [0.0, 0.0, 5.0]


def test_custom_relu_works_inside_torch_func_grad(custom) -> None:
    def loss(h):
        return (3 * custom["MyReLU"].apply(h)).sum()

    gradient = torch.func.grad(loss)(torch.tensor([-1.0, 0.0, 2.0]))
    assert gradient.tolist() == [0.0, 0.0, 3.0]
