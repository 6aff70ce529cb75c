"""The same net with our own autograd function: ReLU, forward and backward.

New: a subclass of torch.autograd.Function replaces torch.relu. The forward
pass calls it through apply, and autograd calls its backward method.

    python autograd/two_layer_net_custom_function.py
"""

import torch


class MyReLU(torch.autograd.Function):
    """max(0, h), element by element, for h of any shape."""

    @staticmethod
    def forward(h):
        # Compute the output. Nothing in here is recorded.
        return torch.relu(h)

    @staticmethod
    def setup_context(ctx, inputs, output):
        # Save what backward will need.
        (h,) = inputs
        ctx.save_for_backward(h)

    @staticmethod
    def backward(ctx, grad_output):
        # grad_output is the gradient of the loss with respect to the output.
        # Return the gradient of the loss with respect to h. Do not change
        # grad_output in place: it may be used elsewhere too.
        (h,) = ctx.saved_tensors
        return torch.where(h > 0, grad_output, 0.0)


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# Random initial weights.
w1 = torch.randn(D_in, H, device=device, requires_grad=True)
w2 = torch.randn(H, D_out, device=device, requires_grad=True)

learning_rate = 1e-6
for t in range(500):
    # Forward pass. apply runs our function and records it in the graph.
    h = x @ w1
    h_relu = MyReLU.apply(h)
    y_pred = h_relu @ w2

    # The loss.
    loss = torch.square(y_pred - y).sum()
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Backward pass. For the ReLU, autograd calls MyReLU.backward.
    w1.grad = None
    w2.grad = None
    loss.backward()

    # Gradient descent.
    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad
