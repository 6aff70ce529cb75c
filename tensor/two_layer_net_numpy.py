"""A two-layer ReLU net in numpy: forward and backward pass by hand.

This is where the tutorial begins. numpy knows nothing about gradients or
GPUs, so you write the forward pass, the backward pass and the update
yourself.

    python tensor/two_layer_net_numpy.py
"""

import numpy as np

rng = np.random.default_rng(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets: there is no pattern to find, only numbers to
# memorise.
x = rng.standard_normal((N, D_in))
y = rng.standard_normal((N, D_out))

# Random initial weights.
w1 = rng.standard_normal((D_in, H))
w2 = rng.standard_normal((H, D_out))

learning_rate = 1e-6
for t in range(500):
    # Forward pass: compute the prediction, one row for each row of x.
    h = x @ w1
    h_relu = np.maximum(h, 0)
    y_pred = h_relu @ w2

    # The loss: the squared Euclidean distance between prediction and target.
    loss = np.square(y_pred - y).sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss:.6e}")

    # Backward pass: compute the gradient of the loss with respect to each
    # result and weight, from the last to the first. Each gradient has the same
    # shape as the matrix it belongs to.
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T @ grad_y_pred
    grad_h_relu = grad_y_pred @ w2.T
    grad_h = grad_h_relu * (h > 0)
    grad_w1 = x.T @ grad_h

    # Gradient descent: a small step against the gradient.
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2
