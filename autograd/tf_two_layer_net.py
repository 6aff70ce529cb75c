"""The same net as a static graph, in TensorFlow 2.

New: tf.function runs the Python code of one training step once, to trace it
into a graph. All 500 steps then run that graph, not the Python code.

    python autograd/tf_two_layer_net.py
"""

import tensorflow as tf

tf.random.set_seed(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets. They are fed to the graph at each step.
x = tf.random.normal((N, D_in))
y = tf.random.normal((N, D_out))

# Random initial weights. A tf.Variable keeps its value from one run of the
# graph to the next, and the graph can update it.
w1 = tf.Variable(tf.random.normal((D_in, H)))
w2 = tf.Variable(tf.random.normal((H, D_out)))

learning_rate = 1e-6


@tf.function
def train_step(x, y):
    """One step of gradient descent; returns the loss before it."""
    # This print is Python, not TensorFlow. It runs while the code is traced
    # and does not become part of the graph.
    print("tracing train_step")

    # Forward pass. The tape records what the gradients will need.
    with tf.GradientTape() as tape:
        h = x @ w1
        h_relu = tf.nn.relu(h)
        y_pred = h_relu @ w2
        loss = tf.reduce_sum(tf.square(y_pred - y))

    # The backward pass and gradient descent become part of the graph too.
    grad_w1, grad_w2 = tape.gradient(loss, [w1, w2])
    w1.assign_sub(learning_rate * grad_w1)
    w2.assign_sub(learning_rate * grad_w2)
    return loss


for t in range(500):
    # The first call traces the graph and runs it. Later calls only run it.
    loss = train_step(x, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss.numpy():.6e}")
