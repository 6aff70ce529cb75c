"""The same net in Keras: one call a step.

New: Keras plays the role of nn and optim. The model is handed its loss and
its optimizer once; from then on, train_on_batch makes a whole step.

    python further/keras_two_layer_net.py
"""

import keras

keras.utils.set_random_seed(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = keras.random.normal((N, D_in))
y = keras.random.normal((N, D_out))

# A Dense layer is told the number of its outputs. It learns that of its
# inputs from what comes before it.
model = keras.Sequential(
    [
        keras.Input((D_in,)),
        keras.layers.Dense(H),
        keras.layers.ReLU(),
        keras.layers.Dense(D_out),
    ]
)


def loss_fn(y, y_pred):
    """Return the sum of the squared errors, as before."""
    return keras.ops.sum(keras.ops.square(y_pred - y))


# Plain gradient descent. Nothing is trained here yet.
learning_rate = 1e-4
optimizer = keras.optimizers.SGD(learning_rate)
model.compile(optimizer=optimizer, loss=loss_fn)

for t in range(500):
    # Forward pass, loss, backward pass and gradient descent. What comes back
    # is the loss before the update.
    loss = model.train_on_batch(x, y)
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {loss:.6e}")
