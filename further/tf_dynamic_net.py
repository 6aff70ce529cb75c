"""The dynamic net as a static graph, in TensorFlow 2.

New: the loop over the middle layer is an operation of the graph. Traced once,
the graph runs at any depth, which is fed to it like x and y.

    python further/tf_dynamic_net.py
"""

import random

import tensorflow as tf

random.seed(0)
tf.random.set_seed(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets, to be fed to the graph.
x = tf.random.normal((N, D_in))
y = tf.random.normal((N, D_out))


def linear(inputs, outputs):
    """Return a weight and a bias, both uniform within the same bound."""
    bound = inputs**-0.5
    weight = tf.random.uniform((inputs, outputs), -bound, bound)
    bias = tf.random.uniform((outputs,), -bound, bound)
    return [tf.Variable(weight), tf.Variable(bias)]


# Random initial weights and biases.
w1, b1 = linear(D_in, H)
w_middle, b_middle = linear(H, H)
w2, b2 = linear(H, D_out)
params = [w1, b1, w_middle, b_middle, w2, b2]
print("parameters", sum(param.shape.num_elements() for param in params))

# Momentum keeps a sum of past gradients for each parameter. It has to last
# from one run of the graph to the next, so it is a tf.Variable too.
velocities = [tf.Variable(tf.zeros_like(param)) for param in params]

learning_rate = 1e-4
momentum = 0.9


@tf.function
def train_step(x, y, depth):
    """One step of gradient descent; returns the loss before it."""
    print("tracing train_step")

    # Forward pass.
    with tf.GradientTape() as tape:
        h_relu = tf.nn.relu(x @ w1 + b1)
        # The range is a Tensor, whose length is not known before the graph
        # runs. Under tf.function, a loop over a Tensor becomes a loop of the
        # graph. Python runs the body once, to trace it.
        for _ in tf.range(depth - 1):
            h_relu = tf.nn.relu(h_relu @ w_middle + b_middle)
        y_pred = h_relu @ w2 + b2
        loss = tf.reduce_sum(tf.square(y_pred - y))

    # Backward pass and gradient descent. This loop is over a Python list, so
    # it stays Python's, and puts the update of each parameter into the graph.
    grads = tape.gradient(loss, params)
    for param, velocity, grad in zip(params, velocities, grads, strict=True):
        velocity.assign(momentum * velocity + grad)
        param.assign_sub(learning_rate * velocity)
    return loss


for t in range(500):
    # The depth goes in as a Tensor. A Python number would be taken into the
    # graph, and another number would be traced again.
    depth = random.randint(1, 4)
    loss = train_step(x, y, tf.constant(depth))
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.numpy():.6e}  depth {depth}")

# Look into the graph: its products, ReLUs and loops, in order.
graph = train_step.get_concrete_function(x, y, tf.constant(depth)).graph
shown = ["MatMul", "Relu", "ReluGrad", "While", "StatelessWhile"]
kinds = [op.type for op in graph.get_operations()]
print("graph:", *[kind for kind in kinds if kind in shown])
