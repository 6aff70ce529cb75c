"""What each idea costs: the time of one training step, way by way.

New: torch.utils.benchmark warms up, repeats, and waits for the GPU.

    python further/costs.py
"""

import os
import shutil
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

# One thread for numpy and PyTorch, which read this when they are imported.
os.environ["OMP_NUM_THREADS"] = os.environ["VECLIB_MAXIMUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn
from torch.utils.benchmark import Timer, timer

device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
# torch.compile needs a C++ compiler, Python's headers and, on CUDA, Triton.
compiles = shutil.which("cl" if os.name == "nt" else "g++") is not None
compiles &= Path(sysconfig.get_path("include"), "Python.h").exists()
compiles &= device.type != "cuda" or find_spec("triton") is not None
loss_fn = nn.MSELoss(reduction="sum")
learning_rate = 0.0  # No weight changes: every step has the same work.


def products(x, y, w1, w2):
    """The floor: the five products of a step, with other numbers."""
    h = x @ w1.T
    h @ w2.T, y.T @ h, y @ w2, h.T @ x


def by_hand(x, y, w1, w2):
    """A whole step, in lines that serve arrays and Tensors alike."""
    h = x @ w1.T
    h_relu = h.clip(min=0)
    y_pred = h_relu @ w2.T
    ((y_pred - y) ** 2).sum()
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = grad_y_pred.T @ h_relu
    grad_h = (grad_y_pred @ w2) * (h > 0)
    grad_w1 = grad_h.T @ x
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2


def descend(y_pred, y, params):
    loss_fn(y_pred, y).backward()
    with torch.no_grad():
        for param in params:
            param -= learning_rate * param.grad
            param.grad = None


def optimize(y_pred, y, optimizer):
    loss_fn(y_pred, y).backward()
    optimizer.step()
    optimizer.zero_grad()


def ways(H):
    """Return a function for each way to make a step, and for the floors."""
    torch.manual_seed(0)
    N, D_in, D_out = H // 2, 1024, 16
    x = torch.randn(N, D_in, device=device)
    y = torch.randn(N, D_out, device=device)
    layers = nn.Linear(D_in, H, bias=False), nn.Linear(H, D_out, bias=False)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1]).to(device)
    # All ways share these weights, and so their layout in memory, (out, in).
    w1, w2 = params = list(model.parameters())
    data = x, y, w1.detach(), w2.detach()
    arrays = [tensor.numpy(force=True) for tensor in data]  # On the CPU.
    sgd = torch.optim.SGD(params, lr=learning_rate)
    adam = torch.optim.Adam(params, lr=learning_rate)
    steps = {
        "numpy products": lambda: products(*arrays),
        "numpy": lambda: by_hand(*arrays),
        "torch products": lambda: products(*data),
        "tensor": lambda: by_hand(*data),
        "autograd": lambda: descend(torch.relu(x @ w1.T) @ w2.T, y, params),
        "nn": lambda: descend(model(x), y, params),
        "SGD": lambda: optimize(model(x), y, sgd),
        "Adam": lambda: optimize(model(x), y, adam),
    }
    if compiles:
        compiled = torch.compile(model, dynamic=False)
        steps["nn compiled"] = lambda: descend(compiled(x), y, params)
    return steps


# A stopwatch around a first call, which on a GPU returns before it is done.
step = ways(128)["autograd"]
start = time.perf_counter()
step()
print(f"stopwatch    {(time.perf_counter() - start) * 1e3:9.3f} ms")
start = timer()  # Waits for the GPU, then reads the clock.
step()
print(f"synchronised {(timer() - start) * 1e3:9.3f} ms")
timed = Timer("step()", globals={"step": step}).blocked_autorange()
print(f"benchmark    {timed.median * 1e3:9.3f} ms")

for H in (128, 1024, 4096):
    steps = ways(H)
    times = {name: [] for name in steps}
    # In turn, five rounds: where the machine slows down, the floor does too.
    for name in list(steps) * 5:
        timed = Timer("step()", globals={"step": steps[name]})
        times[name].append(timed.blocked_autorange(min_run_time=0.1).median)
    for name, seconds in times.items():
        base = times["numpy products" if "numpy" in name else "torch products"]
        ratio = np.median(np.divide(seconds, base))
        ms = np.median(seconds) * 1e3
        print(f"width {H:4}  {name:14} {ms:8.3f} ms   ratio {ratio:.2f}")
