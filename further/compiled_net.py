"""The same net compiled: the loss as a static graph, in PyTorch.

New: torch.compile captures the operations of a Python function in a graph and
hands it to a backend, which returns what to run instead. The backend here
prints the graph and returns it as it is.

    python further/compiled_net.py
"""

import torch


def print_graph(graph_module, example_inputs):
    """A backend: takes a graph, returns the function to call instead."""
    # The names of the nodes, in the order in which they run: first the
    # inputs, then the operations, then the output. A GraphModule can be
    # called like any other module, so it can be returned.
    print("graph:", *graph_module.graph.nodes)
    return graph_module


@torch.compile(backend=print_graph)
def compute_loss(x, y, w1, w2):
    """The loss of the net with these weights: a Tensor without dimensions."""
    # Forward pass.
    h = x @ w1
    h_relu = torch.relu(h)
    y_pred = h_relu @ w2

    # The loss is the end of the graph.
    return torch.square(y_pred - y).sum()


torch.manual_seed(0)
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = torch.randn(N, D_in, device=device)
y = torch.randn(N, D_out, device=device)

# Random initial weights.
w1 = torch.randn(D_in, H, device=device, requires_grad=True)
w2 = torch.randn(H, D_out, device=device, requires_grad=True)

learning_rate = 1e-6
for t in range(500):
    # The first call captures the graph and runs it; the others only run it.
    loss = compute_loss(x, y, w1, w2)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.item():.6e}")

    # Backward pass: autograd has recorded what the graph did.
    w1.grad = None
    w2.grad = None
    loss.backward()

    # Gradient descent.
    with torch.no_grad():
        w1 -= learning_rate * w1.grad
        w2 -= learning_rate * w2.grad
