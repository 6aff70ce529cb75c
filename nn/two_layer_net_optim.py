"""The same net with optim: Adam does the update.

New: you hand an optimizer the parameters once. From then on it clears their
gradients and updates them when you tell it to.

    python nn/two_layer_net_optim.py
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

# The model and its loss.
model = nn.Sequential(
    nn.Linear(D_in, H),
    nn.ReLU(),
    nn.Linear(H, D_out),
).to(device)
loss_fn = nn.MSELoss(reduction="sum")

learning_rate = 1e-4
# To try another optimizer, change this line.
optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

for t in range(500):
    # Forward pass.
    y_pred = model(x)

    # The loss.
    loss = loss_fn(y_pred, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Clear the old gradients, compute the new ones, update the parameters.
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
