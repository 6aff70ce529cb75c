"""The same net with nn: layers that hold their own parameters.

New: nn.Sequential chains layers into a model, a loss module compares its
output with the target, and a loop updates every parameter of the model.

    python nn/two_layer_net_nn.py
"""

import torch
from torch import nn

torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# Each Linear holds a weight and a bias, both with random initial values;
# to(device) moves them all.
model = nn.Sequential(
    nn.Linear(D_in, H),
    nn.ReLU(),
    nn.Linear(H, D_out),
).to(device)

# The sum of the squared errors, as before; the default is their mean.
loss_fn = nn.MSELoss(reduction="sum")

learning_rate = 1e-4
for t in range(500):
    # Forward pass. You call a model like a function.
    y_pred = model(x)

    # The loss, computed by a module too.
    loss = loss_fn(y_pred, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Backward pass. Clear the gradients of all parameters first.
    model.zero_grad()
    loss.backward()

    # Gradient descent, the same for every parameter.
    with torch.no_grad():
        for param in model.parameters():
            param -= learning_rate * param.grad
