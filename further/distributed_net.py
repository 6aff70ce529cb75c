"""The same net in many processes, each with a share of the examples.

New: every process computes the gradients of its share, all_reduce adds them
up over the processes, and so every process makes the same update.

    torchrun --nproc-per-node 2 further/distributed_net.py

Without torchrun there is one process, which has all examples:

    python further/distributed_net.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn

torch.manual_seed(0)
# NVIDIA's GPUs talk to each other through a library called NCCL. Without it,
# the processes stay on the CPU and talk through another library, gloo.
device, device_id = torch.device("cpu"), None
if torch.accelerator.is_available() and dist.is_nccl_available():
    # The launcher numbers the processes of a machine: each takes its own GPU.
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = device_id = torch.device("cuda", local_rank)
    torch.accelerator.set_device_index(local_rank)
backend = dist.get_default_backend_for_device(device)

# The processes meet. A launcher such as torchrun tells each one, in the
# environment, its rank, from 0 up, their number, and where to find the others.
# Without a launcher, this process is alone.
if "RANK" in os.environ:
    dist.init_process_group(backend, device_id=device_id)
else:
    dist.init_process_group(
        backend, store=dist.HashStore(), rank=0, world_size=1
    )
rank, world_size = dist.get_rank(), dist.get_world_size()
if rank == 0:
    print(f"processes {world_size}  device {device.type}")

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

model = nn.Sequential(
    nn.Linear(D_in, H),
    nn.ReLU(),
    nn.Linear(H, D_out),
).to(device)

# All start from the numbers that rank 0 drew: broadcast copies them to the
# others. The seed alone would not do, as another machine may draw other
# numbers from it.
for tensor in (x, y, *model.state_dict().values()):
    dist.broadcast(tensor, src=0)

# The share of this process: every world_size-th example, from its rank on.
x, y = x[rank::world_size], y[rank::world_size]

# A sum over the examples: the losses of the shares add up to the whole loss.
loss_fn = nn.MSELoss(reduction="sum")

learning_rate = 1e-4
for t in range(500):
    # Forward pass, for the share.
    y_pred = model(x)

    # The loss of the share. Now and then the whole loss: every process takes
    # part in the sum, and one of them prints it.
    loss = loss_fn(y_pred, y)
    if t % 50 == 0 or t == 499:
        whole_loss = loss.detach().clone()
        dist.all_reduce(whole_loss)
        if rank == 0:
            print(f"step {t:3d}  loss {whole_loss.item():.6e}")

    # Backward pass, with the gradients of every parameter cleared first.
    model.zero_grad()
    loss.backward()

    # In every process, each gradient becomes the sum over all processes: the
    # gradient of the whole loss with respect to the parameter.
    for param in model.parameters():
        dist.all_reduce(param.grad)

    # Gradient descent, for all parameters alike.
    with torch.no_grad():
        for param in model.parameters():
            param -= learning_rate * param.grad

# Leave the process group.
dist.destroy_process_group()
