"""TensorFlow's graph is built once; PyTorch's is built by each run."""

import random

import pytest
import torch

from harness import Run, import_tensorflow, run
from reference import GradientDescent, train

SCRIPT = "autograd/tf_two_layer_net.py"


@pytest.fixture
def tf():
    return import_tensorflow()


@pytest.fixture
def result(tf) -> Run:
    return run(SCRIPT)


def traces(function) -> int:
    return function.experimental_get_tracing_count()


def operations(result: Run) -> list:
    """Return the operations of the script's graph."""
    x, y, train_step = (result.names[n] for n in ("x", "y", "train_step"))
    return train_step.get_concrete_function(x, y).graph.get_operations()


def test_one_graph_of_the_whole_step_is_traced_once(tf, result) -> None:
    assert tf.__version__.startswith("2.")
    assert result.lines[0] == "tracing train_step"
    assert result.lines.count("tracing train_step") == 1
    assert traces(result.names["train_step"]) == 1
    kinds = [operation.type for operation in operations(result)]
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


def test_other_data_runs_through_the_graph_other_shapes_do_not(tf, result):
    names, train_step = result.names, result.names["train_step"]
    # The inputs in another order, so that they do not fit the targets.
    x, y = names["x"][::-1], names["y"]
    layers = [(names[weight].numpy(), None) for weight in ("w1", "w2")]
    update = GradientDescent(1e-6)
    expected, _ = train(x.numpy(), y.numpy(), layers, [[0, 1]] * 2, update)
    losses = [float(train_step(x, y)) for _ in expected]
    assert losses == pytest.approx(expected, rel=1e-4)
    assert traces(train_step) == 1
    train_step(x[:32], y[:32])
    assert traces(train_step) == 2


def test_each_python_number_and_each_type_is_traced_again(tf) -> None:
    double, counts = tf.function(lambda value: 2 * value), []
    for value in (1, 1, 2, 3, *map(tf.constant, (1.0, 2.0, 1))):
        assert double(value) == 2 * value
        counts.append(traces(double))
    assert counts == [1, 1, 2, 3, 4, 4, 5]


def test_rate_is_frozen_unless_it_is_a_variable(tf, result) -> None:
    changed = run("faults/rate_frozen.diff")
    assert changed.lines == result.lines and not changed.noted
    assert type(result.names["learning_rate"]) is float
    constants = [each for each in operations(result) if each.type == "Const"]
    values = [each.get_attr("value").float_val for each in constants]
    assert [pytest.approx(1e-6)] in values
    # Traced anew, for another shape, it reads the name: a rate of 0.
    w1, before = changed.names["w1"], changed.names["w1"].numpy()
    changed.names["train_step"](tf.ones((32, 1000)), tf.ones((32, 10)))
    assert (w1.numpy() == before).all()
    variable = {
        "learning_rate = 1e-6": "learning_rate = tf.Variable(1e-6)",
        "        learning_rate = 0.0": "        learning_rate.assign(0.0)",
    }
    losses = run("faults/rate_frozen.diff", changes=variable).losses
    assert losses[200] > losses[250] == losses[300] == losses[499]


def test_python_loop_keeps_its_length_in_a_static_graph_alone(tf) -> None:
    def double_1_to_4_times(value):
        for _ in range(random.randint(1, 4)):
            value = 2.0 * value
        return value

    random.seed(0)
    graph, one = tf.function(double_1_to_4_times), tf.constant(1.0)
    assert len({float(graph(one)) for _ in range(40)}) == 1
    results = [double_1_to_4_times(torch.tensor(1.0)) for _ in range(40)]
    assert {float(each) for each in results} == {2, 4, 8, 16}


def test_loops_of_the_graph_itself_change_from_call_to_call(tf) -> None:
    def while_loop(depth):
        return tf.while_loop(
            lambda i, _: i < depth, lambda i, v: (i + 1, 2.0 * v), (0, 1.0)
        )[1]

    def double(value, _):
        return 2.0 * value

    def scan(depth):
        return tf.scan(double, tf.range(depth), 1.0)[-1]

    def over_range(depth):
        value = 1.0
        for _ in tf.range(depth):
            value = 2.0 * value
        return value

    for loop in map(tf.function, (while_loop, scan, over_range)):
        results = [loop(tf.constant(depth)) for depth in (1, 2, 3, 4)]
        assert [float(each) for each in results] == [2, 4, 8, 16]
        assert traces(loop) == 1


def test_either_library_can_do_both(tf) -> None:
    assert tf.executing_eagerly() and float(tf.constant(1.0) + 1.0) == 2
    graphs = []
    function = torch.compile(
        lambda v: 2 * v.relu(),
        backend=lambda module, _: graphs.append(module.graph) or module,
    )
    assert function(torch.ones(2)).tolist() == [2, 2]
    assert len(graphs) == 1 and len(graphs[0].nodes) == 4
