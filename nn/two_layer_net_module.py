"""The same net as our own Module.

New: a subclass of nn.Module names its layers in __init__ and says in forward
how data flows through them.

    python nn/two_layer_net_module.py
"""

import torch
from torch import nn


class TwoLayerNet(nn.Module):
    """Linear, ReLU, Linear: (N, D_in) to (N, D_out)."""

    def __init__(self, D_in, H, D_out):
        super().__init__()
        # A module that you assign to an attribute is registered: its
        # parameters become parameters of this module.
        self.linear1 = nn.Linear(D_in, H)
        self.linear2 = nn.Linear(H, D_out)

    def forward(self, x):
        # You can use any Tensor operation here, and any Python.
        h_relu = torch.relu(self.linear1(x))
        return self.linear2(h_relu)


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# The model and its loss.
model = TwoLayerNet(D_in, H, D_out).to(device)
loss_fn = nn.MSELoss(reduction="sum")

learning_rate = 1e-4
optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

for t in range(500):
    # Forward pass. Calling the model calls its forward method.
    y_pred = model(x)

    # The loss.
    loss = loss_fn(y_pred, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Clear the old gradients, compute the new ones, update the parameters.
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
