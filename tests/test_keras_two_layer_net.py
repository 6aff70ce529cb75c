"""The net in Keras: its backends, its layers, its loss, its fit."""

import pytest

import make_outputs
from harness import EVERY_STEP, ROOT, Run, import_tensorflow, run

SCRIPT = "further/keras_two_layer_net.py"
NOTE = {
    "optimizer = ": "initial = model.get_weights()\noptimizer = ",
    "    return keras.ops": "    print('called')\n    return keras.ops",
}


@pytest.fixture
def result() -> Run:
    return run(SCRIPT, changes=NOTE | EVERY_STEP)


def test_step_is_traced_on_tensorflow_and_called_on_pytorch(result, tmp_path):
    assert result.lines.count("called") == 1
    source = (ROOT / SCRIPT).read_text("utf-8")
    for old, new in NOTE.items():
        source = source.replace(old, new)
    script = tmp_path / "script.py"
    script.write_text(source, "utf-8")
    missing = "raise ModuleNotFoundError('tensorflow')"
    (tmp_path / "tensorflow.py").write_text(missing)
    on_torch = {"KERAS_BACKEND": "torch", "PYTHONPATH": str(tmp_path)}
    code, stdout, _ = make_outputs.run(str(script), **on_torch)
    # It is called once more, to learn the shapes.
    assert code == 0 and stdout.count("called\n") == 501


def test_dense_draws_from_a_wider_range_than_linear(result) -> None:
    weights = result.names["initial"]
    for i, (inputs, outputs) in ((0, (1000, 100)), (2, (100, 10))):
        bound = (6 / (inputs + outputs)) ** 0.5
        for end in (weights[i].max(), -weights[i].min()):
            assert end == pytest.approx(bound, rel=0.02)
        assert bound > 2 * inputs**-0.5 and not weights[i + 1].any()
    assert result.losses[0] > 2 * run("nn/two_layer_net_nn.py").losses[0]


def test_mean_squared_error_sums_a_tenth_of_our_loss(result) -> None:
    y, loss_fn = result.names["y"], result.names["loss_fn"]
    keras = result.names["keras"]
    mean = keras.losses.MeanSquaredError(reduction="sum")
    losses = [float(function(y, 0 * y)) for function in (loss_fn, mean)]
    assert losses[0] == pytest.approx(10 * losses[1], rel=1e-5)


def test_fit_makes_the_same_steps(result, monkeypatch) -> None:
    data, begun = import_tensorflow().data.Dataset, []
    start = data.__iter__
    monkeypatch.setattr(
        data, "__iter__", lambda d: begun.append(d) or start(d)
    )
    model, x, y = (result.names[name] for name in ("model", "x", "y"))

    def fit(**options):
        begun.clear()
        steps = int(model.optimizer.iterations)
        history = model.fit(x, y, verbose=0, **options).history
        return history, int(model.optimizer.iterations) - steps, len(begun)

    model.set_weights(result.names["initial"])
    losses, steps, set_up = fit(batch_size=64, epochs=6)
    expected = [result.losses[step] for step in range(6)]
    assert losses["loss"] == pytest.approx(expected, rel=1e-3) and steps == 6
    # Each epoch is set up anew, and its batches are of 32.
    assert fit()[1:] == (2, set_up / 6) and set_up > 0
    assert "val_loss" in fit(validation_split=0.5)[0]

    # The mean of what a loss returns, here of a loss for each of 64 rows.
    def rows(y, y_pred):
        return result.names["keras"].ops.sum((y_pred - y) ** 2, axis=1)

    model.set_weights(result.names["initial"])
    model.compile("sgd", rows)
    assert 64 * model.train_on_batch(x, y) == pytest.approx(expected[0])
    # The target comes first, and not that of the first example.
    model.compile("sgd", lambda y, y_pred: y[0, 0] + 0 * y_pred[0, 0])
    (first,) = fit(batch_size=64)[0]["loss"]
    assert first in y.numpy()[1:, 0]
