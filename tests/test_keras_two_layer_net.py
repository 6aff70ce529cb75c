"""The net in Keras: its backends, its layers, its loss, its fit."""

import time

import numpy as np
import pytest

import make_outputs
from harness import Run, change, run, source_of
from pages import says

SCRIPT = "further/keras_two_layer_net.py"
STEPS = 4


@pytest.fixture
def start() -> Run:
    """The script before the first step."""
    return run(SCRIPT, steps=0)


@pytest.fixture(scope="module")
def result() -> Run:
    """The script after a few steps, each printed."""
    return run(SCRIPT, steps=STEPS, every_step=True)


def printed_at_the_end(result: Run) -> float:
    return float(result.lines[-1].removeprefix("evaluate  loss "))


def test_fit_on_arrays_makes_the_same_steps(start, result) -> None:
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    history = model.fit(x, y, batch_size=64, epochs=STEPS, verbose=0).history
    expected = list(result.losses.values())
    assert history["loss"] == pytest.approx(expected, rel=1e-3)


def seconds_of_fit(start: Run, *data, **options) -> float:
    """Return the time of 20 steps of fit, after a first call."""
    model = start.names["model"]
    model.fit(*data, verbose=0, **options)
    begin = time.perf_counter()
    model.fit(*data, verbose=0, **options)
    return time.perf_counter() - begin


def test_arrays_take_far_longer_than_a_generator(start) -> None:
    says("On TensorFlow, that takes far longer than the step")
    x, y = start.names["x"], start.names["y"]
    batches = start.names["batches"]()
    arrays = seconds_of_fit(start, x, y, batch_size=64, epochs=20)
    generator = seconds_of_fit(
        start, batches, steps_per_epoch=1, epochs=20, shuffle=False
    )
    assert arrays > 3 * generator


def test_train_on_batch_returns_the_loss_before_its_step(start, result):
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    for expected in result.losses.values():
        assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-3)


def test_evaluate_takes_the_loss_after_the_last_step(result) -> None:
    one_more = run(SCRIPT, steps=STEPS + 1, every_step=True)
    after = pytest.approx(one_more.losses[STEPS], rel=1e-3)
    assert printed_at_the_end(result) == after


def test_evaluate_leaves_the_weights_as_they_are(result) -> None:
    model, x, y = (result.names[name] for name in ("model", "x", "y"))
    before = model.get_weights()
    model.evaluate(x, y, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_fit_cuts_arrays_into_batches(start) -> None:
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    (size,) = map(int, says("cut arrays into batches of {}"))
    model.fit(x[:size], y[:size], verbose=0)
    assert model.optimizer.iterations == 1
    model.fit(x[: size + 1], y[: size + 1], verbose=0)
    assert model.optimizer.iterations == 1 + 2


def test_loss_is_a_mean_weighted_by_the_sizes_of_the_batches(start) -> None:
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    says("report the mean of the batches' losses, weighted by their sizes")
    first, second = (
        model.evaluate(x[part], y[part], batch_size=64, verbose=0)
        for part in (slice(0, 48), slice(48, 64))
    )
    both = model.evaluate(x, y, batch_size=48, verbose=0)
    assert both == pytest.approx((48 * first + 16 * second) / 64, rel=1e-4)


def count_zeros(y, y_pred):
    from keras import ops

    return ops.sum(ops.cast(y_pred == 0, y_pred.dtype)) + 0 * ops.sum(y_pred)


def test_evaluate_switches_dropout_off_and_fit_does_not(start) -> None:
    layers = start.names["keras"].layers
    x, y = start.names["x"], start.names["y"]
    model = start.names["keras"].Sequential(
        [layers.Dense(100), layers.Dropout(0.5)]
    )
    model.compile("sgd", count_zeros)
    fit = model.fit(x, y, batch_size=64, verbose=0).history["loss"][0]
    assert fit == pytest.approx(64 * 100 / 2, rel=0.1)
    assert model.evaluate(x, y, batch_size=64, verbose=0) == 0


def test_runs_on_pytorch_without_tensorflow(tmp_path) -> None:
    changes = {"range(500)": f"range({STEPS})"}
    script = tmp_path / "script.py"
    script.write_text(change(SCRIPT, source_of(SCRIPT)[1], changes), "utf-8")
    missing = "raise ModuleNotFoundError('tensorflow')"
    (tmp_path / "tensorflow.py").write_text(missing, "utf-8")
    on_torch = {"KERAS_BACKEND": "torch", "PYTHONPATH": str(tmp_path)}
    code, stdout, stderr = make_outputs.run(script, **on_torch)
    assert code == 0, stderr
    assert "evaluate  loss" in stdout


def test_compile_compiles_nothing_on_a_cpu(start) -> None:
    assert not start.names["model"].jit_compile


@pytest.mark.parametrize(
    ("layer", "inputs", "outputs"), [(0, 1000, 100), (2, 100, 10)]
)
def test_dense_draws_from_a_wider_range(start, layer, inputs, outputs):
    weight = start.names["model"].get_weights()[layer]
    (six,) = says("±√({} / (inputs + outputs)) here, ±1 / √inputs there")
    bound = (six / (inputs + outputs)) ** 0.5
    assert weight.max() == pytest.approx(bound, rel=0.02)
    assert weight.min() == pytest.approx(-bound, rel=0.02)
    assert bound > 2 * inputs**-0.5


@pytest.mark.parametrize("bias", [1, 3])
def test_biases_of_dense_start_at_0(start, bias: int) -> None:
    assert not start.names["model"].get_weights()[bias].any()


def test_biases_as_in_linear_hardly_change_the_first_loss(start) -> None:
    says("(Its biases start at 0, which hardly changes the loss.)")
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    w1, b1, w2, b2 = model.get_weights()
    with_zeros = model.evaluate(x, y, batch_size=64, verbose=0)
    rng = np.random.default_rng(0)
    b1 = rng.uniform(-(1000**-0.5), 1000**-0.5, b1.shape)
    b2 = rng.uniform(-(100**-0.5), 100**-0.5, b2.shape)
    model.set_weights([w1, b1, w2, b2])
    with_drawn = model.evaluate(x, y, batch_size=64, verbose=0)
    assert with_drawn == pytest.approx(with_zeros, rel=0.05)


def test_first_loss_is_more_than_twice_that_of_nn(result) -> None:
    nn = run("nn/two_layer_net_nn.py", steps=1)
    assert result.losses[0] > 2 * nn.losses[0]


def test_the_wider_range_is_why(start) -> None:
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    w1, b1, w2, b2 = model.get_weights()
    # As narrow as the weights of Linear: 1 / sqrt(inputs).
    w1 *= 1000**-0.5 / (6 / 1100) ** 0.5
    w2 *= 100**-0.5 / (6 / 110) ** 0.5
    model.set_weights([w1, b1, w2, b2])
    nn = run("nn/two_layer_net_nn.py", steps=1)
    loss = model.evaluate(x, y, batch_size=64, verbose=0)
    assert loss == pytest.approx(nn.losses[0], rel=0.2)


def test_sum_of_keras_is_a_tenth_of_ours(start) -> None:
    keras, y = start.names["keras"], start.names["y"]
    theirs = keras.losses.MeanSquaredError(reduction="sum")(y, 0 * y)
    ours = start.names["loss_fn"](y, 0 * y)
    assert float(ours) == pytest.approx(10 * float(theirs), rel=1e-5)


def test_a_loss_gets_the_target_first(start) -> None:
    model, x, y = start.names["model"], start.names["x"], start.names["y"]
    model.compile("sgd", lambda y, y_pred: y[:, 0] + 0 * y_pred[:, 0])
    expected = pytest.approx(y.numpy()[:, 0].mean(), rel=1e-3)
    assert model.train_on_batch(x, y) == expected
