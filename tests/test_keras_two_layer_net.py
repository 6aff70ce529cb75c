"""The net in Keras: its backends, its layers, its loss, its fit."""

import pytest

import make_outputs
from harness import EVERY_STEP, Run, changed, run

SCRIPT = "further/keras_two_layer_net.py"
CALLED = {"    return keras.ops": "    print('called')\n    return keras.ops"}
INITIAL = {"optimizer = ": "initial = model.get_weights()\noptimizer = "}


@pytest.fixture
def result() -> Run:
    return run(SCRIPT, changes=EVERY_STEP | INITIAL | CALLED)


def test_step_is_traced_on_tensorflow_and_called_on_pytorch(result, tmp_path):
    assert result.lines.count("called") == 1
    _, source = changed(SCRIPT, CALLED)
    (tmp_path / "script.py").write_text(source, "utf-8")
    missing = "raise ModuleNotFoundError('tensorflow')"
    (tmp_path / "tensorflow.py").write_text(missing)
    on_torch = {"KERAS_BACKEND": "torch", "PYTHONPATH": str(tmp_path)}
    code, stdout, _ = make_outputs.run(tmp_path / "script.py", **on_torch)
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


def test_what_keras_makes_of_a_loss(result) -> None:
    model, x, y = map(result.names.get, ("model", "x", "y"))
    mean = result.names["keras"].losses.MeanSquaredError(reduction="sum")
    ours = float(result.names["loss_fn"](y, 0 * y))
    assert ours == pytest.approx(10 * float(mean(y, 0 * y)), rel=1e-5)
    # The target comes first. A loss for each of 64 rows: it takes their mean.
    model.compile("sgd", lambda y, y_pred: y[:, 0] + 0 * y_pred[:, 0])
    expected = y.numpy()[:, 0].mean()
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-3)


def test_fit_makes_the_same_steps(result) -> None:
    model, x, y = map(result.names.get, ("model", "x", "y"))
    model.set_weights(result.names["initial"])
    losses = model.fit(x, y, batch_size=64, epochs=6, verbose=0).history
    expected = [result.losses[step] for step in range(6)]
    assert losses["loss"] == pytest.approx(expected, rel=1e-3)
    for rows in (33, 64):  # Two batches each.
        model.fit(x[:rows], y[:rows], verbose=0)
    assert model.optimizer.iterations == 500 + 6 + 2 + 2
    # Half of them held back; of the others, the first example comes later.
    model.compile("sgd", lambda y, y_pred: y[0, 0] + 0 * y_pred[0, 0])
    held_back = model.fit(x, y, validation_split=0.5, verbose=0).history
    assert held_back["loss"][0] in y.numpy()[1:32, 0]
    assert "val_loss" in held_back
