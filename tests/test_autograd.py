"""What the page says about autograd: graph, gradients, updates."""

import gc
import weakref

import pytest
import torch

from harness import EVERY_STEP, graph_functions, run

SCRIPT = "autograd/two_layer_net_autograd.py"
UPDATE = """    with torch.no_grad():
        w2 -= learning_rate * w2.grad
"""
SHIPPED = """    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad
"""


@pytest.fixture(scope="module")
def script():
    """What the autograd script leaves: its Tensors, after 500 steps."""
    return run(SCRIPT, dtype="float64").names


@pytest.fixture
def w() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 3.0], requires_grad=True)


def test_backward_leaves_gradients_in_the_leaves_that_asked(script) -> None:
    for name in ("w1", "w2"):
        assert script[name].is_leaf and script[name].requires_grad
        assert script[name].grad.shape == script[name].shape
    for name in ("x", "y"):
        assert script[name].grad is None and not script[name].requires_grad
        assert abs(script[name].std() - 1) < 0.1
    assert not script["h"].is_leaf
    assert (torch.ones(2) + 1).is_leaf  # A result, but not a recorded one.


def test_graph_links_functions_back_to_the_leaves(script) -> None:
    for name in ("h", "h_relu", "y_pred", "loss"):
        assert script[name].grad_fn is not None
    found = graph_functions(script["loss"])
    assert found[:3] == ["Sum", "Pow", "Sub"]
    assert found.count("Mm") == 2 and found.count("Relu") == 1
    assert found.count("AccumulateGrad") == 2


def test_grad_is_none_before_backward_and_for_results(w) -> None:
    assert w.grad is None
    results = [w.square(), w.square()]
    results[1].retain_grad()
    sum(result.sum() for result in results).backward()
    assert w.grad is not None and results[1].grad.tolist() == [1, 1, 1]
    with pytest.warns(UserWarning, match="not a leaf"):
        assert results[0].grad is None


def test_gradients_add_up_over_two_backward_passes(w) -> None:
    w.square().sum().backward()
    once = w.grad.clone()
    w.square().sum().backward()
    assert torch.equal(w.grad, 2 * once)
    w.grad = None
    w.square().sum().backward()
    assert torch.equal(w.grad, once)


def test_update_in_place_under_no_grad_keeps_the_leaf(w) -> None:
    w.square().sum().backward()
    before, same = w.detach().clone(), w
    with torch.no_grad():
        w -= 0.1 * w.grad
        assert w.square().grad_fn is None
    assert w is same and w.is_leaf and w.requires_grad
    assert torch.allclose(w, 0.8 * before)
    assert w.square().grad_fn is not None


NOT_A_LEAF = "UserWarning: The .grad attribute of a Tensor that is not a leaf"
NONE_TYPE = "unsupported operand type(s) for *: 'float' and 'NoneType'"
IN_PLACE = "being used in an in-place operation."
NO_GRAD = "element 0 of tensors does not require grad and does not have a"
ASSIGN = "w1 = w1 - learning_rate * w1.grad\n"
BOTH = "    with torch.no_grad():\n" + "".join(
    f"        {ASSIGN.replace('w1', name)}" for name in ("w1", "w2")
)
WRONG = {
    f"    w1 -= {ASSIGN[10:]}{UPDATE}": [
        f"RuntimeError: a leaf Variable that requires grad is {IN_PLACE}"
    ],
    f"    {ASSIGN}{UPDATE}": [NOT_A_LEAF, f"TypeError: {NONE_TYPE}"],
    f"{UPDATE}        {ASSIGN}": [f"TypeError: {NONE_TYPE}"],
    BOTH: [f"RuntimeError: {NO_GRAD} grad_fn"],
}


@pytest.mark.parametrize("update", WRONG)
def test_wrong_update_raises(update) -> None:
    changes = {SHIPPED: update} | EVERY_STEP
    result = run(SCRIPT, changes=changes)
    assert len(result.losses) == (1 if update.startswith("    w1 -=") else 2)
    for line, start in zip(result.noted, WRONG[update], strict=True):
        assert line.startswith(start)
    recorded = update.startswith(f"    {ASSIGN}")
    assert result.names["w1"].is_leaf != recorded


def test_weight_moved_to_another_device_is_a_result() -> None:
    made = torch.randn(2, 2, requires_grad=True)
    assert made.to("cpu") is made
    assert not made.to("meta").is_leaf


def test_weight_moved_to_cuda_raises(cuda) -> None:
    changes = {
        "H, device=device, requires_grad=True)": (
            "H, requires_grad=True).to(device)"
        )
    }
    result = run(SCRIPT, changes=changes, device=cuda)
    assert result.noted[-1] == f"TypeError: {NONE_TYPE}"


def test_one_weight_assigned_under_no_grad() -> None:
    result = run("faults/assigned_weight.diff", changes=EVERY_STEP)
    names = result.names
    assert list(result.losses) == [0, 1]
    assert not names["w1"].requires_grad and names["w1"].grad is None
    assert names["w2"].requires_grad and names["w2"].grad is not None


def test_graph_is_freed_and_recorded_anew(w) -> None:
    loss = w.square().sum()
    assert w.square().sum().grad_fn is not loss.grad_fn
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a sec"):
        loss.backward()


def test_kept_loss_keeps_its_graph(w) -> None:
    for keep, kept in (
        (lambda loss: loss, True),
        (lambda loss: loss.item(), False),
        (lambda loss: loss.detach().numpy().copy(), False),
    ):

        class Hook:
            def __call__(self, *gradients):
                """Held by the graph, and gone with it."""

        loss, hook = w.square().sum(), Hook()
        loss.grad_fn.register_hook(hook)
        graph, losses = weakref.ref(hook), [keep(loss)]
        del loss, hook
        gc.collect()
        assert (graph() is not None) == kept and losses
    kept = [w.detach().numpy(), w.detach().numpy().copy()]
    with torch.no_grad():
        w += 1
    assert kept[0].tolist() == w.tolist() != kept[1].tolist()
