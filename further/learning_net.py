"""A net that learns, and one that only memorises.

New: the targets come from a teacher net, a DataLoader hands out the examples
in batches, and the loss on held-out examples, which no step trains on, tells
learning from memorising. The best state is saved to a file and loaded again.

    python further/learning_net.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TwoLayerNet(nn.Module):
    """Linear, ReLU, Linear: (N, D_in) to (N, D_out)."""

    def __init__(self, D_in, H, D_out):
        super().__init__()
        self.linear1 = nn.Linear(D_in, H)
        self.linear2 = nn.Linear(H, D_out)

    def forward(self, x):
        h_relu = torch.relu(self.linear1(x))
        return self.linear2(h_relu)


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# D_in: input size, H: hidden size, D_out: output size. The inputs are few, so
# that there can be many more examples than inputs.
D_in, H, D_out = 20, 100, 10

# Random inputs, and targets that a net of the same form computes from them.
# Its weights stay as they are: it is what there is to find.
x = torch.randn(10000, D_in, device=device)
x_held_out = torch.randn(1000, D_in, device=device)
teacher = TwoLayerNet(D_in, H, D_out).to(device)
with torch.no_grad():
    y = teacher(x)
    y_held_out = teacher(x_held_out)

# The mean of the squared errors, not their sum, which would be larger on 1000
# examples than on 64 for no other reason than their number.
loss_fn = nn.MSELoss()

# What a net must beat: the mean target as the answer, whatever the input.
# expand_as repeats it for each held-out example.
y_mean = y.mean(dim=0).expand_as(y_held_out)
print(f"mean target  held-out {loss_fn(y_mean, y_held_out).item():.6e}")

# The folder is removed at the end; to keep a state, name a file of your own.
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "best.pt"

# Two nets of the same form, one after the other; N: number of examples.
for N in (64, 10000):
    print(f"{N} examples")
    data = TensorDataset(x[:N], y[:N])
    loader = DataLoader(data, batch_size=100, shuffle=True)

    # The model.
    model = TwoLayerNet(D_in, H, D_out).to(device)

    learning_rate = 2e-3
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    # An epoch is one pass over the examples, in a new order each time. The
    # loader has 1 batch or 100, so these are 500 epochs or 5, and 500 steps.
    t, best_loss = 0, float("inf")
    for _ in range(500 // len(loader)):
        for x_batch, y_batch in loader:
            # Forward pass, for the batch.
            y_pred = model(x_batch)

            # The loss of the batch.
            loss = loss_fn(y_pred, y_batch)
            if t % 50 == 0 or t == 499:
                # The loss on the held-out examples: in the mode for use, not
                # for training, and without a graph.
                model.eval()
                with torch.no_grad():
                    held_out_pred = model(x_held_out)
                    held_out_loss = loss_fn(held_out_pred, y_held_out).item()
                model.train()
                print(
                    f"step {t:3d}  loss {loss.item():.6e}  "
                    f"held-out {held_out_loss:.6e}"
                )

                # Keep the best state so far, and what it predicts.
                if held_out_loss < best_loss:
                    best_step, best_loss = t, held_out_loss
                    best_pred = held_out_pred
                    torch.save(model.state_dict(), path)

            # Clear the old gradients, compute new ones, update parameters.
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            t += 1

    # A new model takes the saved state and predicts the same, to the bit.
    best_model = TwoLayerNet(D_in, H, D_out).to(device)
    best_model.load_state_dict(torch.load(path))
    best_model.eval()
    with torch.no_grad():
        same = torch.equal(best_model(x_held_out), best_pred)
    print(f"best at step {best_step}; loaded, it predicts the same: {same}")

folder.cleanup()
