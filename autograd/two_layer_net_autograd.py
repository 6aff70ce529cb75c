"""The same net with autograd: the backward pass in one call.

New: requires_grad=True tells PyTorch to record what you do with w1 and w2, and
loss.backward() uses that record to compute the gradient of the loss with
respect to each of them.

    python autograd/two_layer_net_autograd.py
"""

import torch

torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets. They need no gradients.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# Random initial weights. With requires_grad=True, backward() computes the
# gradient of the loss with respect to them.
w1 = torch.randn(D_in, H, device=device, requires_grad=True)
w2 = torch.randn(H, D_out, device=device, requires_grad=True)

learning_rate = 1e-6
for t in range(500):
    # Forward pass. Each operation is recorded in the computational graph.
    h = x @ w1
    h_relu = torch.relu(h)
    y_pred = h_relu @ w2

    # The loss is the end of the graph.
    loss = torch.square(y_pred - y).sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Backward pass. backward() adds to w1.grad and w2.grad, so clear the
    # gradients of the previous step first.
    w1.grad = None
    w2.grad = None
    loss.backward()

    # Gradient descent. The update is not part of the net. Under no_grad it is
    # not recorded, and w1 and w2 can be changed in place.
    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad
