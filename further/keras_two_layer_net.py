"""The same net in Keras: one call for the whole training.

New: Keras plays the role of nn and optim, and of the training loop. The model
is handed its loss and its optimizer once; fit then makes all the steps.

    python further/keras_two_layer_net.py
"""

import keras

keras.utils.set_random_seed(0)

# N: batch size, D_in: input size, H: hidden size, D_out: output size.
N, D_in, H, D_out = 64, 1000, 100, 10

# Random inputs and targets.
x = keras.random.normal((N, D_in))
y = keras.random.normal((N, D_out))

# A Dense layer is told the number of its outputs. It takes the number of its
# inputs from the layer before it.
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


def batches():
    """Hand out all the examples as one batch, again and again."""
    while True:
        yield x, y


# fit makes the steps: forward pass, loss, backward pass, gradient descent. It
# counts them in epochs and keeps the mean loss of each, so that with one step
# an epoch it keeps the loss of every step, as it was before the update.
steps = range(500)
history = model.fit(
    batches(),
    steps_per_epoch=1,
    epochs=len(steps),
    shuffle=False,
    verbose=0,
)
for t in steps:
    if t % 50 == 0 or t == 499:
        print(f"step {t:3d}  loss {history.history['loss'][t]:.6e}")

# The loss after the last update.
loss = model.evaluate(x, y, batch_size=N, verbose=0)
print(f"evaluate  loss {loss:.6e}")
