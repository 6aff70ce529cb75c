"""The same net with an autograd of its own: the graph, in numpy.

New: a Tensor is an array that knows what it was made from. Each operation
notes its parents and how a gradient goes back to them, and backward() follows
these notes from the loss to the weights.

    python further/own_autograd.py
"""

import numpy as np


class Tensor:
    """An array, and what it was made from."""

    def __init__(self, value, *parents):
        self.value = value
        # A pair for each parent: the parent, and a function. The function is
        # given the gradient of the loss with respect to this Tensor, and
        # returns what this Tensor adds to the parent's gradient.
        self.parents = parents

    def __matmul__(self, other):
        return Tensor(
            self.value @ other.value,
            (self, lambda grad: grad @ other.value.T),
            (other, lambda grad: self.value.T @ grad),
        )

    def __sub__(self, other):
        return Tensor(
            self.value - other.value,
            (self, lambda grad: grad),
            (other, lambda grad: -grad),
        )

    def relu(self):
        return Tensor(
            np.maximum(self.value, 0),
            (self, lambda grad: grad * (self.value > 0)),
        )

    def square(self):
        return Tensor(
            np.square(self.value),
            (self, lambda grad: grad * 2.0 * self.value),
        )

    def sum(self):
        return Tensor(
            self.value.sum(),
            (self, lambda grad: grad * np.ones_like(self.value)),
        )

    def append_to(self, tensors):
        """Append this Tensor to a list, after all that it was made from."""
        if self not in tensors:
            for parent, _ in self.parents:
                parent.append_to(tensors)
            tensors.append(self)

    def backward(self):
        """Compute the gradient of this with respect to all behind it."""
        tensors = []
        self.append_to(tensors)
        for tensor in tensors:
            tensor.grad = np.zeros_like(tensor.value)
        self.grad = np.ones_like(self.value)
        # The last one first. When the turn of a Tensor comes, all that were
        # made from it have added their parts, so its gradient is complete.
        for tensor in reversed(tensors):
            for parent, pass_back in tensor.parents:
                parent.grad += pass_back(tensor.grad)


rng = np.random.default_rng(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets. Tensors without parents are leaves.
x = Tensor(rng.standard_normal((N, D_in)))
y = Tensor(rng.standard_normal((N, D_out)))

# Random initial weights.
w1 = Tensor(rng.standard_normal((D_in, H)))
w2 = Tensor(rng.standard_normal((H, D_out)))

learning_rate = 1e-6
for t in range(500):
    # Forward pass. Each operation makes a Tensor and notes its parents.
    h = x @ w1
    h_relu = h.relu()
    y_pred = h_relu @ w2

    # The loss: the squared Euclidean distance between prediction and target.
    loss = (y_pred - y).square().sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.value:.6e}")

    # Backward pass, from the loss back to the leaves.
    loss.backward()

    # Gradient descent. It changes the arrays inside w1 and w2, so no Tensor
    # is made, and nothing is noted.
    w1.value -= learning_rate * w1.grad
    w2.value -= learning_rate * w2.grad
