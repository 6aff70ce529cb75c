"""A net of random depth: control flow and weight sharing.

New: a plain Python loop in forward uses one middle layer 0 to 3 times. Each
forward pass builds a new graph from the same parameters.

    python nn/dynamic_net.py
"""

import random

import torch
from torch import nn


class DynamicNet(nn.Module):
    """A net with a varying depth: (N, D_in) to (N, D_out)."""

    def __init__(self, D_in, H, D_out):
        super().__init__()
        self.linear1 = nn.Linear(D_in, H)
        self.middle_linear = nn.Linear(H, H)
        self.linear2 = nn.Linear(H, D_out)

    def forward(self, x, depth):
        h_relu = torch.relu(self.linear1(x))
        # The depth is the number of hidden layers. All but the first are the
        # same module, used again with the same weights.
        for _ in range(depth - 1):
            h_relu = torch.relu(self.middle_linear(h_relu))
        return self.linear2(h_relu)


random.seed(0)
torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# The model and its loss. The number of parameters is the same at any depth.
model = DynamicNet(D_in, H, D_out).to(device)
loss_fn = nn.MSELoss(reduction="sum")
print("parameters", sum(param.numel() for param in model.parameters()))

# Momentum speeds up the descent when the net is deep.
learning_rate = 1e-4
optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)

for t in range(500):
    # Forward pass, at a random depth. It builds a new graph each time.
    depth = random.randint(1, 4)
    y_pred = model(x, depth)

    # The loss.
    loss = loss_fn(y_pred, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}  depth {depth}")

    # Clear the old gradients, compute the new ones, update the parameters.
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
