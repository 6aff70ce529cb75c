"""A training loop as people write it.

New: classes as targets, AdamW with weight decay, clipped gradients, a learning
rate that warms up and then falls, bfloat16 on GPUs that have it, and a
checkpoint from which a stopped training goes on.

    python further/training_loop.py
    python further/training_loop.py --resume
"""

import copy
import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def evaluate(model, loader):
    """Return the mean loss on a loader's examples, and the accuracy."""
    model.eval()
    loss_sum, right = 0.0, 0
    with torch.no_grad():
        for x_batch, y_batch in loader:
            x_batch, y_batch = x_batch.to(device), y_batch.to(device)
            y_pred = model(x_batch)
            loss_sum += loss_fn(y_pred, y_batch).item() * len(y_batch)
            right += (y_pred.argmax(dim=1) == y_batch).sum().item()
    return loss_sum / len(loader.dataset), right / len(loader.dataset)


def share_of_rate(t):
    """Return the share of the learning rate that step t takes."""
    warm_up = min((t + 1) / 100, 1)
    return warm_up * (1 + math.cos(math.pi * t / steps)) / 2


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# The target is a class: which of the teacher's outputs is the largest.
D_in, H, D_out = 20, 100, 10
teacher = nn.Sequential(nn.Linear(D_in, H), nn.ReLU(), nn.Linear(H, D_out))
x = torch.randn(8000, D_in)
y = teacher(x).argmax(dim=1)
parts = random_split(TensorDataset(x, y), [4000, 2000, 2000])
# A generator of its own shuffles the training set, and does nothing else.
generator = torch.Generator().manual_seed(0)
train = DataLoader(parts[0], 100, shuffle=True, generator=generator)
held_out, test = (DataLoader(part, 1000) for part in parts[1:])

model = nn.Sequential(nn.Linear(D_in, H), nn.ReLU(), nn.Linear(H, D_out))
model.to(device)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.1)
epochs = 30
steps = epochs * len(train)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate)
use_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(False)
path, unfinished = Path("training_loop.pt"), Path("training_loop.pt.part")
first_epoch, batches_done, loss_sum = 0, 0, 0.0
best_loss, best_state = math.inf, None
if "--resume" in sys.argv:
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    generator.set_state(state["generator"])
    torch.set_rng_state(state["random"])
    first_epoch, batches_done, loss_sum = state["place"]
    best_loss, best_state = state["best"]

for epoch in range(first_epoch, epochs):
    model.train()
    generator_state = generator.get_state()  # To shuffle this epoch again.
    for batch, (x_batch, y_batch) in enumerate(train, start=1):
        if batch <= batches_done:  # Done before the stop.
            continue
        x_batch, y_batch = x_batch.to(device), y_batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
            loss = loss_fn(model(x_batch), y_batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        if batch % 10 == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator_state,
                "random": torch.get_rng_state(),
                "place": (epoch, batch, loss_sum),
                "best": (best_loss, best_state),
            }
            # A stop while it writes must not spoil the checkpoint before.
            torch.save(state, unfinished)
            unfinished.replace(path)
    held_out_loss, accuracy = evaluate(model, held_out)
    if held_out_loss < best_loss:
        best_loss = held_out_loss
        best_state = copy.deepcopy(model.state_dict())
    rate = schedule.get_last_lr()[0]
    print(
        f"epoch {epoch + 1:2d}/{epochs}  loss {loss_sum / len(train):.3f}  "
        f"held-out {held_out_loss:.3f}  accuracy {accuracy:.1%}  "
        f"rate {rate:.4f} {'=' * round(500 * rate)}".rstrip()
    )
    batches_done, loss_sum = 0, 0.0

model.load_state_dict(best_state)
test_loss, accuracy = evaluate(model, test)
print(f"test set, best epoch: loss {test_loss:.3f}, accuracy {accuracy:.1%}")
path.unlink()
