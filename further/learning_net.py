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


def evaluate(model):
    """Return the loss of a model on the held-out examples."""
    model.eval()  # Evaluation mode, which changes nothing in this net.
    with torch.no_grad():
        y_pred = model(x_held_out.to(device))
        loss = loss_fn(y_pred, y_held_out.to(device))
    model.train()  # Back to the mode for training.
    return loss.item()


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# D_in: input size, H: hidden size, D_out: output size. The inputs are few, so
# that there can be many more examples than inputs.
D_in, H, D_out = 20, 100, 10

# Random inputs, and targets that a net of the same form computes from them.
# Its weights stay as they are: it is what there is to find. All examples stay
# on the CPU. A real data set is often larger than the memory of a GPU.
x, x_held_out = torch.randn(10000, D_in), torch.randn(1000, D_in)
teacher = TwoLayerNet(D_in, H, D_out)
with torch.no_grad():
    y, y_held_out = teacher(x), teacher(x_held_out)

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
            # The batch goes to the device, and only the batch.
            x_batch, y_batch = x_batch.to(device), y_batch.to(device)

            # Forward pass and loss, for the batch.
            y_pred = model(x_batch)
            loss = loss_fn(y_pred, y_batch)
            if t % 50 == 0 or t == 499:
                held_out_loss = evaluate(model)
                print(
                    f"step {t:3d}  loss {loss.item():.6e}  "
                    f"held-out {held_out_loss:.6e}"
                )
                # Keep the best state so far.
                if held_out_loss < best_loss:
                    best_step, best_loss = t, held_out_loss
                    torch.save(model.state_dict(), path)

            # Clear the old gradients, compute new ones, update parameters.
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            t += 1

    # A new model takes the saved state. Its Tensors are loaded to the CPU,
    # wherever they were saved, and copied into the model, wherever that is.
    best_model = TwoLayerNet(D_in, H, D_out).to(device)
    state = torch.load(path, map_location="cpu", weights_only=True)
    best_model.load_state_dict(state)
    loss_again = evaluate(best_model)
    print(f"best: step {best_step}, loaded again  held-out {loss_again:.6e}")

folder.cleanup()
