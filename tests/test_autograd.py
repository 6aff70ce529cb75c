"""What the page says about autograd: graph, gradients, updates."""

import re
import weakref

import pytest
import torch

from harness import EVERY_STEP, graph_functions, run
from test_outputs import RAW

SCRIPT = "autograd/two_layer_net_autograd.py"


@pytest.fixture
def w() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 3.0], requires_grad=True)


def test_graph_leads_from_the_loss_to_the_leaves_that_asked() -> None:
    script = run(SCRIPT).names
    graph = "Sum Pow Sub Mm Relu AccumulateGrad Mm AccumulateGrad"
    assert graph_functions(script["loss"]) == graph.split()
    for name in ("w1", "w2"):
        assert script[name].is_leaf and script[name].requires_grad
        assert script[name].grad.shape == script[name].shape
    for name in ("x", "y"):
        assert script[name].grad is None and not script[name].requires_grad
    assert not script["h"].is_leaf
    assert (torch.ones(2) + 1).is_leaf  # A result, but not a recorded one.


def test_grad_is_none_before_backward_and_for_results(w) -> None:
    assert w.grad is None
    h, retained = w.square(), w.square()
    retained.retain_grad()
    (h + retained).sum().backward()
    assert w.grad is not None and retained.grad.tolist() == [1, 1, 1]
    with pytest.warns(UserWarning, match="not a leaf"):
        assert h.grad is None


def test_gradients_add_up(w) -> None:
    for backwards in (1, 2, 3):
        w.square().sum().backward()
        assert torch.equal(w.grad, backwards * 2 * w)


def test_update_in_place_under_no_grad_keeps_the_leaf(w) -> None:
    same, array = w, w.detach().numpy()
    copied = array.copy()
    with torch.no_grad():
        w -= 1
        assert w.square().grad_fn is None
    assert w is same and w.is_leaf and w.requires_grad
    assert w.tolist() == array.tolist() == [0, -3, 2]
    assert copied.tolist() == [1, -2, 3]


# What the page's table shows, and the warning that it speaks of.
IN_PLACE, NONE_TYPE, NO_GRAD = re.findall(
    r"^\| `w1 .*`(\w+Error: .*)` \|$", RAW, re.MULTILINE
)
NOT_A_LEAF = "UserWarning: The .grad attribute of a Tensor that is not a leaf"
OUTSIDE = {"with torch.no_grad():": "if True:"}
W1, W2 = ({f"{w} -= ": f"{w} = {w} - "} for w in ("w1", "w2"))


@pytest.mark.parametrize(
    ("changes", "steps", "noted", "leaf", "asks"),
    [
        (OUTSIDE, 1, [IN_PLACE], True, True),
        (OUTSIDE | W1 | W2, 2, [NOT_A_LEAF, NONE_TYPE], False, True),
        (W1, 2, [NONE_TYPE], True, False),
        (W1 | W2, 2, [NO_GRAD], True, False),
    ],
)
def test_wrong_update_raises(changes, steps, noted, leaf, asks) -> None:
    result = run(SCRIPT, changes=EVERY_STEP | changes)
    w1, w2 = result.names["w1"], result.names["w2"]
    assert len(result.losses) == steps
    for line, start in zip(result.noted, noted, strict=True):
        assert line.startswith(start)
    assert (w1.is_leaf, w1.requires_grad) == (leaf, asks)
    if changes == W1:  # As in faults/assigned_weight.diff.
        assert w1.grad is None and w2.grad is not None


def test_weight_moved_to_a_gpu_is_a_result_and_raises(device) -> None:
    assert not torch.ones(2, requires_grad=True).to("meta").is_leaf
    made = "H, device=device, requires_grad=True)"
    changes = {made: "H, requires_grad=True).to(device)"}
    noted = run(SCRIPT, changes=changes, device=device).noted
    assert noted[-1:] == [NONE_TYPE] * (device != "cpu")


def test_graph_is_freed_and_recorded_anew(w) -> None:
    loss = w.square().sum()
    assert w.square().sum().grad_fn is not loss.grad_fn
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a sec"):
        loss.backward()


def test_kept_loss_keeps_its_graph(w) -> None:
    h = w.square()
    loss, inside = h.square().sum(), weakref.ref(h)
    kept = [loss.item(), loss.detach().numpy().copy(), loss]
    del loss, h
    assert inside() is not None
    kept.pop()
    assert inside() is None
