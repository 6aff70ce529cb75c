"""The autograd of our own, against numpy's lines and PyTorch's autograd."""

import sys

import numpy as np
import pytest
import torch

from harness import run
from pages import says

SCRIPT = "further/own_autograd.py"


@pytest.fixture(scope="module")
def names() -> dict:
    """What the script leaves after two steps."""
    return run(SCRIPT, steps=2).names


@pytest.fixture
def arrays() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((2, 3, 3))


def tree(a, b) -> list:
    """Return what a loss is made from, each used once, and the loss."""
    c = (a @ b).relu()
    return [a, b, c, c.square().sum()]


def shared(a, b) -> list:
    """Return the same where a, b and c are used more than once."""
    c = (a @ b).relu()
    d = c - c @ b
    return [a, b, c, d, (d @ b - d - a).square().sum()]


def gradients_of_pytorch(graph, arrays) -> list[np.ndarray]:
    tensors = graph(*torch.tensor(arrays, requires_grad=True))
    for tensor in tensors:
        tensor.retain_grad()
    tensors[-1].backward()
    return [tensor.grad.numpy() for tensor in tensors]


def recurse(tensor, part) -> int:
    """Pass on a part at once, by recursion; return the number of calls."""
    tensor.grad = tensor.grad + part
    calls = [recurse(p, pass_back(part)) for p, pass_back in tensor.parents]
    return 1 + sum(calls)


@pytest.mark.parametrize("seed", [0, 1])
def test_prints_the_losses_of_the_numpy_script(seed: int) -> None:
    by_hand = run("tensor/two_layer_net_numpy.py", seed=seed)
    assert run(SCRIPT, seed=seed).lines == by_hand.lines


@pytest.mark.parametrize("graph", [tree, shared])
def test_gradients_are_those_of_pytorch(graph, names, arrays) -> None:
    tensors = graph(*map(names["Tensor"], arrays))
    tensors[-1].backward()
    expected = gradients_of_pytorch(graph, arrays)
    for tensor, gradient in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(tensor.grad, gradient)


@pytest.mark.parametrize("graph", [tree, shared])
def test_recursion_is_right_too(graph, names, arrays) -> None:
    tensors = graph(*map(names["Tensor"], arrays))
    made = []
    tensors[-1].append_to(made)
    for tensor in made:
        tensor.grad = np.zeros_like(tensor.value)
    recurse(tensors[-1], 1.0)
    expected = gradients_of_pytorch(graph, arrays)
    for tensor, gradient in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(tensor.grad, gradient)


def test_recursion_takes_twice_the_calls_for_each_result_used_twice(names):
    says("every result that is used twice can double the number of paths")
    result, calls = names["Tensor"](np.array(0.5)), []
    for _ in range(12):
        result.grad = np.zeros_like(result.value)
        calls.append(recurse(result, 1.0))
        result = result - result
        result.backward()
    assert calls[-1] > 2**11


def test_each_is_listed_after_its_parents(names, arrays) -> None:
    listed = []
    shared(*map(names["Tensor"], arrays))[-1].append_to(listed)
    for place, tensor in enumerate(listed):
        for parent, _ in tensor.parents:
            assert parent in listed[:place]


def test_each_is_listed_once(names, arrays) -> None:
    listed = []
    shared(*map(names["Tensor"], arrays))[-1].append_to(listed)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", ["x", "y"])
def test_inputs_and_targets_get_a_gradient_too(name, names) -> None:
    assert names[name].grad.any()


def test_a_second_backward_pass_starts_from_0(names, arrays) -> None:
    a, *_, loss = shared(*map(names["Tensor"], arrays))
    loss.backward()
    first = a.grad.copy()
    loss.backward()
    assert np.array_equal(a.grad, first)


def test_change_in_place_makes_a_wrong_gradient(names) -> None:
    a = names["Tensor"](np.array(3.0))
    loss = a.square()
    a.value -= 1
    loss.backward()
    assert a.grad == 4  # At the time of the square, it was 6.


def test_arrays_of_two_shapes_do_not_pass_backward(names) -> None:
    h, bias = names["Tensor"](np.ones((5, 3))), names["Tensor"](np.ones(3))
    with pytest.raises(ValueError, match="broadcast shape"):
        (h - bias).sum().backward()


def test_a_loss_of_many_numbers_is_taken_as_their_sum(names, arrays) -> None:
    a, b = map(names["Tensor"], arrays)
    (a @ b).backward()
    of_many = a.grad
    (a @ b).sum().backward()
    assert np.array_equal(of_many, a.grad)


def test_pytorch_refuses_a_loss_of_many_numbers(arrays) -> None:
    a, b = torch.tensor(arrays, requires_grad=True)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (a @ b).backward()


def long_chain(h):
    """Use a result of a result, more often than Python may recurse."""
    for _ in range(sys.getrecursionlimit()):
        h = h.relu()
    return h


def test_a_long_graph_ends_in_a_recursion_error(names) -> None:
    with pytest.raises(RecursionError):
        long_chain(names["Tensor"](np.array(1.0))).backward()


def test_pytorch_goes_back_through_a_long_graph() -> None:
    a = torch.tensor(1.0, requires_grad=True)
    long_chain(a).backward()
    assert a.grad == 1
