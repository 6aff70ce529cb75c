"""What each idea costs: the time of one training step, way by way.

New: torch.utils.benchmark takes the time. It lets a step warm up, repeats it,
keeps PyTorch to one thread and waits for the GPU to finish.

    python further/costs.py

With --quick at the end: small nets, short measurements, nothing compiled.
"""

import argparse
import os
import platform
import shutil
import sysconfig
import time
from pathlib import Path

# One thread for all: else the times would depend on how many each library
# takes, and on who else is using the machine. The libraries read these names
# when they are imported, so they must be set before that.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["VECLIB_MAXIMUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn
from torch.utils import benchmark

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a short test run")
quick = parser.parse_args().quick
# Compile where there are a C++ compiler, Python's headers, and time for it.
compiler = shutil.which("cl" if os.name == "nt" else "g++")
headers = Path(sysconfig.get_path("include"), "Python.h")
compiling = compiler and headers.exists() and not quick

# The CPU, and the accelerator (CUDA, MPS, ...) if there is one.
devices = [torch.device("cpu")]
if torch.accelerator.is_available():
    devices.append(torch.accelerator.current_accelerator())

# The updates do all their arithmetic but leave the weights as they are, so
# that the thousandth step has the same work to do as the first.
learning_rate = 0.0
loss_fn = nn.MSELoss(reduction="sum")


def products(x, w1, h_relu, w2, grad_y_pred, grad_h):
    """The floor: the five matrix products of a step, and nothing else."""
    x @ w1
    h_relu @ w2
    h_relu.T @ grad_y_pred
    grad_y_pred @ w2.T
    x.T @ grad_h


def numpy_step(x, y, w1, w2):
    h = x @ w1
    h_relu = np.maximum(h, 0)
    y_pred = h_relu @ w2
    np.square(y_pred - y).sum()
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T @ grad_y_pred
    grad_h_relu = grad_y_pred @ w2.T
    grad_h = grad_h_relu * (h > 0)
    grad_w1 = x.T @ grad_h
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2


def tensor_step(x, y, w1, w2):
    h = x @ w1
    h_relu = torch.relu(h)
    y_pred = h_relu @ w2
    torch.square(y_pred - y).sum()
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T @ grad_y_pred
    grad_h_relu = grad_y_pred @ w2.T
    grad_h = grad_h_relu * (h > 0)
    grad_w1 = x.T @ grad_h
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2


def forward(x, y, w1, w2):
    h_relu = torch.relu(x @ w1)
    return torch.square(h_relu @ w2 - y).sum()


if compiling:
    # dynamic=True: for all widths at once, not anew for each. PyTorch may
    # still compile again, where a size passes a limit of the code it made.
    compiled_forward = torch.compile(forward, dynamic=True)


def autograd_step(forward, x, y, w1, w2):
    loss = forward(x, y, w1, w2)
    w1.grad = None
    w2.grad = None
    loss.backward()
    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad


def nn_step(model, x, y):
    loss = loss_fn(model(x), y)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for param in model.parameters():
            param -= learning_rate * param.grad


def optim_step(model, optimizer, x, y):
    loss = loss_fn(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def ways(H, device):
    """Return what to measure at a width: functions and their arguments."""
    # The tutorial's sizes at H = 100. Sixteen times the width goes with
    # eight times the batch and twice the inputs.
    growth = H / 100
    N, D_in, D_out = round(64 * growth**0.75), round(1000 * growth**0.25), 10

    torch.manual_seed(0)
    x = torch.randn(N, D_in, device=device)
    y = torch.randn(N, D_out, device=device)
    w1 = torch.randn(D_in, H, device=device)
    w2 = torch.randn(H, D_out, device=device)
    leaves = w1.clone().requires_grad_(), w2.clone().requires_grad_()

    # The same weights for nn, and no biases: all ways do the same work. A
    # method whose name ends in _ changes its Tensor in place.
    model = nn.Sequential(
        nn.Linear(D_in, H, bias=False),
        nn.ReLU(),
        nn.Linear(H, D_out, bias=False),
    ).to(device)
    with torch.no_grad():
        model[0].weight.copy_(w1.T)
        model[2].weight.copy_(w2.T)
    sgd = torch.optim.SGD(model.parameters(), lr=learning_rate)
    adam = torch.optim.Adam(model.parameters(), lr=learning_rate)

    h = x @ w1
    factors = [x, w1, torch.relu(h), w2, h @ w2 - y, h]
    found = {}
    if device.type == "cpu":
        # The same dtype for all: float64 would move twice the bytes.
        arrays = [tensor.numpy() for tensor in (x, y, w1, w2)]
        found["numpy products"] = products, [part.numpy() for part in factors]
        found["numpy"] = numpy_step, arrays
    found["torch products"] = products, factors
    found["tensor"] = tensor_step, (x, y, w1, w2)
    found["autograd"] = autograd_step, (forward, x, y, *leaves)
    if compiling:
        found["compiled"] = autograd_step, (compiled_forward, x, y, *leaves)
    found["nn"] = nn_step, (model, x, y)
    found["SGD"] = optim_step, (model, sgd, x, y)
    found["Adam"] = optim_step, (model, adam, x, y)
    return found


def measure(H, device):
    """Measure each way at a width, and print a row of the table for it."""
    for name, (step, arguments) in ways(H, device).items():
        # A stopwatch lies. On a CPU, the first call also loads code, touches
        # new memory, and compiles. On a GPU, a call returns when its work is
        # queued, not when it is done: benchmark.timer waits for the queue,
        # and then reads the clock.
        start = benchmark.timer()
        step(*arguments)
        first = benchmark.timer() - start

        # Timer calls the step to warm up, and to find how many calls make a
        # block that is long against the reading of the clock. It then times
        # blocks, four at least, until their spread is below a tenth of their
        # median, or until time is up.
        timed = benchmark.Timer(
            "step(*arguments)",
            globals={"step": step, "arguments": arguments},
        ).adaptive_autorange(
            threshold=0.1,
            min_run_time=0.01 if quick else 0.5,
            max_run_time=0.02 if quick else 4.0,
        )
        if name.endswith("products"):
            floor = timed.median
        # The median, because a few blocks that were interrupted do not move
        # it; the spread, iqr, is how far apart the middle half of them lies.
        print(
            f"{device.type:6} {H:6}  {name:14} {first * 1e3:10.3f}"
            f" {timed.median * 1e3:10.3f} {timed.iqr * 1e3:9.3f}"
            f" {timed.median / floor:6.2f}",
            flush=True,
        )


# A time says nothing without what was measured, and on what.
cpu = platform.processor()
if Path("/proc/cpuinfo").exists():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(": ")[1]
print("PyTorch", torch.__version__, " numpy", np.__version__)
print("threads", torch.get_num_threads(), " cpu", cpu)
if torch.cuda.is_available():
    print("cuda", torch.cuda.get_device_name())
if not compiling:
    print("nothing compiled: --quick, no C++ compiler, or no Python headers")
print("device  width  way              first ms  median ms    iqr ms  ratio")

for device in devices:
    for H in (10, 40) if quick else (100, 1000, 4000):
        measure(H, device)

# A GPU goes on, until its memory or a minute ends it.
start = time.perf_counter()
while device.type != "cpu" and not quick and time.perf_counter() < start + 60:
    H *= 2
    try:
        measure(H, device)
    except RuntimeError as error:
        # Most likely its memory is full; the message says so.
        print(str(error).splitlines()[0])
        break
