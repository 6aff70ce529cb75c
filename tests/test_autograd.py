"""What the page says about autograd: graph, leaves, updates."""

import weakref

import pytest
import torch

from harness import graph_functions, run, shared_run
from pages import says

SCRIPT = "autograd/two_layer_net_autograd.py"
TENSOR_SCRIPT = "tensor/two_layer_net_tensor.py"


@pytest.fixture
def w() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 3.0], requires_grad=True)


def test_nodes_of_the_graph_are_the_operations() -> None:
    loss = run(SCRIPT, steps=1).names["loss"]
    operations = ["Sum", "Pow", "Sub", "Mm", "Relu", "Mm"]
    found = graph_functions(loss)
    assert [f for f in found if f != "AccumulateGrad"] == operations


def test_graph_ends_in_the_two_weights() -> None:
    loss = run(SCRIPT, steps=1).names["loss"]
    assert graph_functions(loss).count("AccumulateGrad") == 2


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_weights_are_leaves_with_a_gradient(name: str) -> None:
    weight = shared_run(SCRIPT).names[name]
    assert weight.is_leaf
    assert weight.requires_grad
    assert weight.grad.shape == weight.shape


@pytest.mark.parametrize("name", ["x", "y"])
def test_nothing_goes_back_to_what_is_not_marked(name: str) -> None:
    says("`x` and `y` are not marked, so nothing goes back to them")
    tensor = shared_run(SCRIPT).names[name]
    assert not tensor.requires_grad
    assert tensor.grad is None


def test_marking_x_takes_the_reason_away() -> None:
    made = "x = torch.randn(N, D_in, device=device"
    marked = {f"{made})": f"{made}, requires_grad=True)"}
    x = run(SCRIPT, steps=1, changes=marked).names["x"]
    assert x.grad is not None


def test_a_leaf_is_what_no_recorded_operation_made(w) -> None:
    says("`w1` has no `grad_fn`, because no recorded operation made it")
    assert not (0.5 * w).is_leaf
    with torch.no_grad():
        assert (0.5 * w).is_leaf


def test_results_keep_no_gradient_unless_told_to(w) -> None:
    h, retained = w.square(), w.square()
    retained.retain_grad()
    (h + retained).sum().backward()
    assert retained.grad.tolist() == [1, 1, 1]
    with pytest.warns(UserWarning, match="not a leaf"):
        assert h.grad is None


def test_update_in_place_keeps_the_tensor(w) -> None:
    same = w
    with torch.no_grad():
        w -= 1
    assert w is same
    assert w.tolist() == [0, -3, 2]


def test_nothing_is_recorded_under_no_grad(w) -> None:
    with torch.no_grad():
        assert w.square().grad_fn is None


def test_prints_what_the_tensor_script_prints() -> None:
    says("It prints exactly what the Tensor script printed")
    assert shared_run(SCRIPT).lines == shared_run(TENSOR_SCRIPT).lines


def test_each_forward_pass_records_a_new_graph(w) -> None:
    first, second = w.square(), w.square()
    assert first.grad_fn is not second.grad_fn


@pytest.fixture
def loss_and_result(w) -> tuple[torch.Tensor, weakref.ref]:
    """A loss, and a reference to a result that its graph saves."""
    h = w.square()
    return h.square().sum(), weakref.ref(h)


def test_a_graph_holds_results_until_backward(loss_and_result) -> None:
    loss, result = loss_and_result
    assert result() is not None
    loss.backward()
    assert result() is None


@pytest.mark.parametrize("keep", [torch.Tensor.item, torch.Tensor.detach])
def test_item_and_detach_keep_no_graph(w, keep) -> None:
    h = w.square()
    result, kept = weakref.ref(h), keep(h.square().sum())
    del h
    assert result() is None
    assert kept == 98


def nodes_of(result: torch.Tensor) -> int:
    return len(graph_functions(result))


def test_graph_of_a_total_grows(w) -> None:
    says("It grows if you add up losses, as in `total = total + loss`")
    total, sizes = torch.tensor(0.0), []
    for _ in range(3):
        loss = w.square().sum()
        loss.backward()
        total = total + loss
        sizes.append(nodes_of(total))
    assert sizes[0] < sizes[1] < sizes[2]


def test_graph_of_a_total_of_numbers_does_not(w) -> None:
    total = torch.tensor(0.0)
    for _ in range(3):
        total = total + w.square().sum().item()
    assert total.grad_fn is None


# The exercise: w1 = w1 - ... under no_grad.


@pytest.fixture(scope="module")
def assigned():
    return run("faults/assigned_weight.diff", every_step=True)


def test_assigned_weight_fails_in_the_second_step(assigned) -> None:
    says("The changed line fails, but one step later.")
    assert list(assigned.losses) == [0, 1]
    assert "'float' and 'NoneType'" in assigned.stderr[-1]


def test_assigned_weight_does_not_require_a_gradient(assigned) -> None:
    w1, w2 = assigned.names["w1"], assigned.names["w2"]
    assert not w1.requires_grad
    assert w1.grad is None
    assert w2.grad is not None


def test_outside_no_grad_it_fails_in_the_same_way() -> None:
    says(
        "If you move this one line out of `no_grad`, it fails in the same "
        "way, after a warning."
    )
    outside = {"with torch.no_grad():": "if True:"}
    w2 = {"w2 -= learning_rate": "w2.data -= learning_rate"}
    result = run("faults/assigned_weight.diff", changes=outside | w2)
    warning, error = result.stderr
    assert "a Tensor that is not a leaf" in warning
    assert "'float' and 'NoneType'" in error
    assert not result.names["w1"].is_leaf


def test_marking_the_new_tensor_takes_the_failure_away() -> None:
    new = "w1 = w1 - learning_rate * w1.grad"
    marked = {new: f"w1 = ({new.removeprefix('w1 = ')}).requires_grad_()"}
    mended = run("faults/assigned_weight.diff", changes=marked)
    assert mended.lines == shared_run(SCRIPT).lines
