"""The autograd of our own, against numpy's lines and PyTorch's autograd."""

import numpy as np
import pytest
import torch

from harness import run

SCRIPT = "further/own_autograd.py"


@pytest.fixture(scope="module")
def names() -> dict:
    """What the script leaves."""
    return run(SCRIPT).names


def graph(a, b) -> list:
    """Return nodes used twice, along paths of other lengths, and the loss."""
    c = (a @ b).relu()
    d = c - c @ b
    return [a, b, c, d, (d @ b - d - a).square().sum()]


def test_prints_the_losses_of_the_numpy_script() -> None:
    for seed in (0, 1):
        by_hand = run("tensor/two_layer_net_numpy.py", seed=seed)
        assert run(SCRIPT, seed=seed).lines == by_hand.lines


def test_nodes_used_twice_have_the_gradients_of_pytorch(names) -> None:
    arrays = np.random.default_rng(5).standard_normal((2, 3, 3))
    ours = graph(*map(names["Node"], arrays))
    theirs = graph(*torch.tensor(arrays, requires_grad=True))
    for tensor in theirs:
        tensor.retain_grad()
    for passes in (1, 2):  # PyTorch adds the two up, we start from 0.
        ours[-1].backward()
        theirs[-1].backward(retain_graph=True)
        assert ours[-1].grad == 1
        for node, tensor in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(node.value, tensor.detach())
            np.testing.assert_allclose(passes * node.grad, tensor.grad)
    nodes = []
    ours[-1].append_to(nodes)
    assert len(set(nodes)) == len(nodes) == 2 + 9  # Leaves and operations.
    for place, node in enumerate(nodes):
        assert (node in ours[:2]) == (node.parents == ())
        assert all(parent in nodes[:place] for parent, _ in node.parents)


def test_every_node_has_a_gradient_and_updates_record_nothing(names) -> None:
    assert names["x"].grad.any() and names["y"].grad.any()
    for w in (names["w1"], names["w2"]):
        assert w.parents == () and type(w.value) is np.ndarray


def test_change_in_place_makes_a_wrong_gradient(names) -> None:
    node = names["Node"](np.array(3.0))
    loss = node.square()
    node.value -= 1
    loss.backward()
    assert loss.value == 9 and node.grad == 4  # And not 6.
