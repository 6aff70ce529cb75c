"""TensorFlow's graph is built once, and what that freezes."""

import random

import pytest

from harness import Run, import_tensorflow, run


@pytest.fixture(scope="module")
def tf():
    return import_tensorflow()


@pytest.fixture(scope="module")
def result() -> Run:
    return run("autograd/tf_two_layer_net.py")


def traces(function) -> int:
    return function.experimental_get_tracing_count()


def test_one_graph_of_the_whole_step_is_traced_once(result) -> None:
    assert [line[:4] for line in result.lines] == ["trac", *["step"] * 11]
    x, y, train_step = (result.names[n] for n in ("x", "y", "train_step"))
    assert traces(train_step) == 1
    graph = train_step.get_concrete_function(x, y).graph
    kinds = [operation.type for operation in graph.get_operations()]
    # Two products forward; w2's, h_relu's and w1's gradient backward.
    assert kinds.count("MatMul") == 5
    assert kinds.count("Relu") == kinds.count("ReluGrad") == 1
    assert kinds.count("AssignSubVariableOp") == 2
    # x, y, w1 and w2 are fed; the learning rate is a constant.
    assert kinds.count("Placeholder") == 4
    assert type(result.names["learning_rate"]) is float
    assert "float_val: 1e-06\n" in str(graph.as_graph_def())
    assert not [kind for kind in kinds if "Print" in kind or "Py" in kind]


def test_tape_notes_the_operations_inside_its_with(tf) -> None:
    w = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        inside = w * w
    outside = w * w
    # That of the sum, were both noted, would be 12.
    assert tape.gradient([inside, outside], w) == 6


def test_only_another_number_shape_or_type_is_traced_again(tf) -> None:
    double, counts = tf.function(lambda value: 2 * value), []
    for value in (1, 1, 2, *map(tf.constant, (1.0, 2.0, 1, [1]))):
        assert double(value) == 2 * value
        counts.append(traces(double))
    assert counts == [1, 1, 2, 3, 3, 4, 5]


def test_rate_is_frozen_unless_it_is_a_variable(tf, result) -> None:
    fault = "faults/rate_frozen.diff"
    changed = run(fault)
    assert changed.lines == result.lines and not changed.noted
    # Traced anew, for another shape, it reads the name: a rate of 0.
    w1, before = changed.names["w1"], changed.names["w1"].numpy()
    changed.names["train_step"](tf.ones((32, 1000)), tf.ones((32, 10)))
    assert (w1.numpy() == before).all()
    variable = {
        "learning_rate = 1e-6": "learning_rate = tf.Variable(1e-6)",
        "        learning_rate = 0.0": "        learning_rate.assign(0.0)",
    }
    losses = run(fault, changes=variable).losses
    assert losses[200] > losses[250] == losses[300] == losses[499]


def test_python_loop_keeps_its_length_in_a_graph_alone(tf) -> None:
    def turns():
        return sum(tf.constant(1) for _ in range(random.randint(1, 4)))

    random.seed(0)
    for function, lengths in ((turns, 4), (tf.function(turns), 1)):
        assert len({int(function()) for _ in range(40)}) == lengths


def test_loop_of_the_graph_itself_changes_from_call_to_call(tf) -> None:
    def while_loop(n):
        return tf.while_loop(lambda i: i < n, lambda i: [i + 1], [0])[0]

    def scan(n):
        return tf.scan(lambda turns, _: turns + 1, tf.range(n), 0)[-1]

    for loop in (while_loop, scan):
        graph = tf.function(loop, autograph=False)
        assert [graph(tf.constant(n)) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
        assert traces(graph) == 1
