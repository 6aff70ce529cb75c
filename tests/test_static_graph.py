"""TensorFlow's graph is built once; PyTorch's is built by each run."""

import random

import numpy as np
import pytest
import torch

from harness import import_tensorflow, run
from reference import GradientDescent, train

SCRIPT = "autograd/tf_two_layer_net.py"


@pytest.fixture(scope="module")
def tf():
    return import_tensorflow()


@pytest.fixture
def result(tf):
    return run(SCRIPT)


def traces(function) -> int:
    return function.experimental_get_tracing_count()


def graph_of(names: dict):
    step = names["train_step"]
    return step.get_concrete_function(names["x"], names["y"]).graph


def test_graph_is_traced_once_over_500_steps(tf, result) -> None:
    assert tf.__version__.startswith("2.")
    assert result.lines[0] == "tracing train_step"
    assert result.lines.count("tracing train_step") == 1
    assert traces(result.names["train_step"]) == 1


def test_forward_backward_and_update_are_in_the_graph(result) -> None:
    kinds = [op.type for op in graph_of(result.names).get_operations()]
    # Two products forward; w2's, h_relu's and w1's gradient backward.
    assert kinds.count("MatMul") == 5
    assert kinds.count("Relu") == kinds.count("ReluGrad") == 1
    assert kinds.count("AssignSubVariableOp") == 2
    assert not [kind for kind in kinds if "Print" in kind or "Py" in kind]


def test_tape_notes_the_operations_inside_its_with(tf) -> None:
    w = tf.Variable(3.0)
    with tf.GradientTape(persistent=True) as tape:
        inside = w * w
    outside = w * w
    assert float(tape.gradient(inside, w)) == 6
    assert tape.gradient(outside, w) is None


def test_other_data_runs_through_the_same_graph(tf, numbers) -> None:
    names = run(SCRIPT, numbers=numbers).names
    rng = np.random.default_rng(11)
    shapes = (64, 1000), (64, 10)
    x, y = (rng.standard_normal(s).astype("float32") for s in shapes)
    layers = [(names["w1"].numpy(), None), (names["w2"].numpy(), None)]
    expected, _ = train(x, y, layers, [[0, 1]] * 2, GradientDescent(1e-6))
    for loss in expected:
        got = names["train_step"](tf.constant(x), tf.constant(y))
        assert float(got) == pytest.approx(loss, rel=1e-4)
    assert traces(names["train_step"]) == 1


def test_what_is_traced_again(tf, result) -> None:
    train_step = result.names["train_step"]
    train_step(tf.zeros((32, 1000)), tf.zeros((32, 10)))
    assert traces(train_step) == 2
    double = tf.function(lambda value: 2 * value)
    for value, count in ((1, 1), (1, 1), (2, 2), (3, 3)):
        assert double(value) == 2 * value and traces(double) == count
    for value, count in ((1.0, 4), (2.0, 4)):
        double(tf.constant(value))
        assert traces(double) == count
    double(tf.constant(1))
    assert traces(double) == 5


def test_rate_changed_half_way_changes_nothing(tf, result) -> None:
    changed = run("faults/rate_frozen.diff")
    assert changed.lines == result.lines and not changed.noted
    assert changed.names["learning_rate"] == 0
    assert type(result.names["learning_rate"]) is float
    # Traced anew, for another shape, it reads the name: a rate of 0.
    w1, before = changed.names["w1"], changed.names["w1"].numpy()
    changed.names["train_step"](tf.ones((32, 1000)), tf.ones((32, 10)))
    assert (w1.numpy() == before).all()
    constants = [
        op.get_attr("value").float_val
        for op in graph_of(result.names).get_operations()
        if op.type == "Const"
    ]
    assert [pytest.approx(1e-6)] in constants


def test_rate_in_a_variable_can_be_changed() -> None:
    variable = {
        "learning_rate = 1e-6": "learning_rate = tf.Variable(1e-6)",
        "        learning_rate = 0.0": "        learning_rate.assign(0.0)",
    }
    losses = run("faults/rate_frozen.diff", changes=variable).losses
    assert losses[200] > losses[250] == losses[300] == losses[499]


def double_1_to_4_times(value):
    for _ in range(random.randint(1, 4)):
        value = 2.0 * value
    return value


def test_python_loop_keeps_its_length_in_a_static_graph_alone(tf) -> None:
    random.seed(0)
    graph = tf.function(double_1_to_4_times)
    assert len({float(graph(tf.constant(1.0))) for _ in range(40)}) == 1
    depths = {double_1_to_4_times(torch.tensor(1.0)) for _ in range(40)}
    assert {float(each) for each in depths} == {2, 4, 8, 16}


def test_loops_of_the_graph_itself_change_from_call_to_call(tf) -> None:
    def doubled(value, _):
        return 2.0 * value

    def while_loop(value, depth):
        return tf.while_loop(
            lambda i, _: i < depth,
            lambda i, v: (i + 1, 2.0 * v),
            (tf.constant(0), value),
        )[1]

    def scan(value, depth):
        return tf.scan(doubled, tf.range(depth), value)[-1]

    def over_range(value, depth):
        for _ in tf.range(depth):
            value = 2.0 * value
        return value

    for function in map(tf.function, (while_loop, scan, over_range)):
        value = tf.constant(1.0)
        results = [function(value, tf.constant(d)) for d in (1, 2, 3, 4)]
        assert [float(each) for each in results] == [2, 4, 8, 16]
        assert traces(function) == 1


def test_either_library_can_do_both(tf) -> None:
    assert tf.executing_eagerly() and float(tf.constant(1.0) + 1.0) == 2
    graphs = []
    function = torch.compile(
        lambda v: 2 * v.relu(),
        backend=lambda module, _: graphs.append(module.graph) or module,
    )
    assert function(torch.ones(2)).tolist() == [2, 2]
    assert len(graphs) == 1 and len(graphs[0].nodes) == 4
