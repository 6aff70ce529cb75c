"""The tutorial's nets and optimizers again, in numpy and float64.

Written from the formulas, with no code of the scripts. A net is a list of
layers, a weight of shape (inputs, outputs) and a bias of shape (outputs,) or
None each, and the path that the data takes: the index of each layer in the
order of use. A ReLU stands between two uses.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

Layer = tuple[np.ndarray, np.ndarray | None]


def loss_and_gradients(
    x: np.ndarray, y: np.ndarray, layers: list[Layer], path: Sequence[int]
) -> tuple[float, list[Layer]]:
    """Return the sum of squared errors, and its gradient for each layer.

    A gradient is the sum over the uses of its layer, 0.0 where it has none.
    """
    inputs, output = [], x
    for index in path:
        weight, bias = layers[index]
        inputs.append(np.where(output > 0, output, 0) if inputs else x)
        output = np.tensordot(inputs[-1], weight, axes=(1, 0))
        output = output if bias is None else output + bias
    error = output - y

    gradients = [(0.0, 0.0)] * len(layers)
    flow = 2 * error
    for index, data in zip(reversed(path), reversed(inputs), strict=True):
        of_weight, of_bias = gradients[index]
        product = np.tensordot(data, flow, axes=(0, 0))
        gradients[index] = of_weight + product, of_bias + flow.sum(axis=0)
        # What comes out of a ReLU is positive where it let its input pass.
        flow = np.tensordot(flow, layers[index][0], axes=(1, 1))
        flow = np.where(data > 0, flow, 0)
    return float((error**2).sum()), gradients


class GradientDescent:
    """Gradient descent with momentum, as PyTorch's SGD defines it.

    v <- momentum v + g, then p <- p - learning_rate v; v begins as g:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, key, parameter, gradient):
        velocity = self.momentum * self.velocity.get(key, 0.0) + gradient
        self.velocity[key] = velocity
        return parameter - self.learning_rate * velocity


class Adam:
    """Adam, from Algorithm 1 of its paper, https://arxiv.org/abs/1412.6980."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.moments: dict[tuple[int, int], tuple] = {}

    def __call__(self, key, parameter, gradient):
        t, first, second = self.moments.get(key, (1, 0.0, 0.0))
        first = 0.9 * first + (1 - 0.9) * gradient
        second = 0.999 * second + (1 - 0.999) * gradient**2
        self.moments[key] = t + 1, first, second
        unbiased = first / (1 - 0.9**t), second / (1 - 0.999**t)
        step = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        return parameter - self.learning_rate * step


def train(
    x, y, layers: list[Layer], paths: Iterable, update: Callable, idle=None
) -> tuple[list[float], list[Layer]]:
    """Return the loss at each step, one a path, and the final layers.

    A layer that a step does not use has the gradient idle; None: no update.
    """
    losses, layers = [], [list(layer) for layer in layers]
    for path in paths:
        loss, gradients = loss_and_gradients(x, y, layers, path)
        losses.append(loss)
        for i, layer in enumerate(layers):
            for j, part in enumerate(layer):
                gradient = gradients[i][j] if i in path else idle
                if part is not None and gradient is not None:
                    layer[j] = update((i, j), part, gradient)
    return losses, layers
