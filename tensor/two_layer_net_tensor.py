"""The same net with PyTorch Tensors, on any device.

New: the Tensor. It replaces the numpy array line by line, in float32, and it
lives on the device you choose when you create it.

    python tensor/two_layer_net_tensor.py
"""

import torch

torch.manual_seed(0)

# Use the accelerator (usually a GPU) if there is one, and the CPU otherwise.
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets, created on the device.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# Random initial weights.
w1 = torch.randn(D_in, H, device=device)
w2 = torch.randn(H, D_out, device=device)

learning_rate = 1e-6
for t in range(500):
    # Forward pass.
    h = x @ w1
    h_relu = torch.relu(h)
    y_pred = h_relu @ w2

    # The loss is a Tensor with no dimensions; item() makes it a number.
    loss = torch.square(y_pred - y).sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Backward pass.
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T @ grad_y_pred
    grad_h_relu = grad_y_pred @ w2.T
    grad_h = grad_h_relu * (h > 0)
    grad_w1 = x.T @ grad_h

    # Gradient descent.
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2
