"""The same net with an autograd of its own: the graph, in numpy.

New: a Node is an array that knows what it was made from. Each operation notes
its parents and how a gradient goes back to them, and backward() follows these
notes from the loss to the weights.

    python further/own_autograd.py
"""

import numpy as np


class Node:
    """An array in the graph: its value, and what it was made from."""

    def __init__(self, value, *parents):
        self.value = value
        # A pair for each parent: its node, and a function that is handed the
        # gradient of the loss with respect to this node, and returns what
        # this node adds to the gradient with respect to the parent.
        self.parents = parents

    def __matmul__(self, other):
        return Node(
            self.value @ other.value,
            (self, lambda grad: grad @ other.value.T),
            (other, lambda grad: self.value.T @ grad),
        )

    def __sub__(self, other):
        return Node(
            self.value - other.value,
            (self, lambda grad: grad),
            (other, lambda grad: -grad),
        )

    def relu(self):
        return Node(
            np.maximum(self.value, 0),
            (self, lambda grad: grad * (self.value > 0)),
        )

    def square(self):
        return Node(
            np.square(self.value),
            (self, lambda grad: grad * 2.0 * self.value),
        )

    def sum(self):
        return Node(
            self.value.sum(),
            (self, lambda grad: grad * np.ones_like(self.value)),
        )

    def append_to(self, nodes):
        """Append this node to a list, after all that it was made from."""
        if self not in nodes:
            for parent, _ in self.parents:
                parent.append_to(nodes)
            nodes.append(self)

    def backward(self):
        """Compute the gradient of this node with respect to each before it."""
        nodes = []
        self.append_to(nodes)
        for node in nodes:
            node.grad = np.zeros_like(node.value)
        self.grad = np.ones_like(self.value)
        # The last node first: when a node's turn comes, every node that was
        # made from it has added its part, and its own gradient is complete.
        for node in reversed(nodes):
            for parent, pass_back in node.parents:
                parent.grad += pass_back(node.grad)


rng = np.random.default_rng(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets. Nodes without parents are leaves of the graph.
x = Node(rng.standard_normal((N, D_in)))
y = Node(rng.standard_normal((N, D_out)))

# Random initial weights.
w1 = Node(rng.standard_normal((D_in, H)))
w2 = Node(rng.standard_normal((H, D_out)))

learning_rate = 1e-6
for t in range(500):
    # Forward pass. Each operation adds a node to the graph.
    h = x @ w1
    h_relu = h.relu()
    y_pred = h_relu @ w2

    # The loss: the squared Euclidean distance between prediction and target.
    loss = (y_pred - y).square().sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.value:.6e}")

    # Backward pass: from the loss, the last node, to the first.
    loss.backward()

    # Gradient descent. It changes the arrays, not the nodes, and so adds
    # nothing to the graph.
    w1.value -= learning_rate * w1.grad
    w2.value -= learning_rate * w2.grad
