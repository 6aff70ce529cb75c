"""TensorFlow's graph is built once, and what that freezes."""

import random

import pytest

from harness import Run, import_tensorflow, run, shared_run, source_of
from pages import says
from scripts import LAST, STEP_COUNT

SCRIPT = "autograd/tf_two_layer_net.py"
FROZEN = "faults/rate_frozen.diff"


@pytest.fixture(scope="module")
def tf():
    return import_tensorflow()


@pytest.fixture(scope="module")
def result() -> Run:
    return shared_run(SCRIPT)


@pytest.fixture(scope="module")
def operations(result) -> list[str]:
    """The kinds of the operations in the graph of a step."""
    x, y = result.names["x"], result.names["y"]
    concrete = result.names["train_step"].get_concrete_function(x, y)
    return [operation.type for operation in concrete.graph.get_operations()]


def test_python_runs_in_the_first_call_alone(result) -> None:
    (others,) = says("The other {} calls run the graph, and none of your")
    assert result.lines.count("tracing train_step") == 1
    assert result.lines[0] == "tracing train_step"
    assert others == STEP_COUNT - 1


def test_step_is_traced_once(result) -> None:
    train_step = result.names["train_step"]
    assert train_step.experimental_get_tracing_count() == 1


def test_graph_holds_forward_and_backward_pass(operations) -> None:
    # Two products forward; backward those for w2, h_relu and w1.
    assert operations.count("MatMul") == 5
    assert operations.count("Relu") == 1
    assert operations.count("ReluGrad") == 1


def test_graph_holds_the_update(operations) -> None:
    assert operations.count("AssignSubVariableOp") == 2


def test_graph_holds_no_python(operations) -> None:
    assert "PrintV2" not in operations
    assert "PyFunc" not in operations


def test_tape_records_what_stands_inside_it(tf) -> None:
    w = tf.Variable(3.0)
    with tf.GradientTape(persistent=True) as tape:
        inside = w * w
    outside = w * w
    assert tape.gradient(inside, w) == 6
    assert tape.gradient(outside, w) is None


# The exercise.


def test_frozen_rate_changes_nothing() -> None:
    (step,) = says("does the net stop learning at step {}?")
    frozen = run(FROZEN)
    assert f"    if t == {step:.0f}:" in source_of(FROZEN)[1]
    assert frozen.lines == shared_run(SCRIPT).lines
    assert frozen.stderr == []


def test_a_variable_as_the_rate_stops_the_learning() -> None:
    says("make it a `tf.Variable` and call `learning_rate.assign(0.0)`")
    variable = {
        "learning_rate = 1e-6": "learning_rate = tf.Variable(1e-6)",
        "        learning_rate = 0.0": "        learning_rate.assign(0.0)",
    }
    losses = run(FROZEN, changes=variable).losses
    assert losses[200] > losses[250]
    assert losses[250] == losses[LAST]


def test_another_value_under_the_name_of_a_variable_does_not() -> None:
    says("Even then, a plain `=` would change nothing.")
    made = {"learning_rate = 1e-6": "learning_rate = tf.Variable(1e-6)"}
    assert run(FROZEN, changes=made).lines == shared_run(SCRIPT).lines


def test_without_the_graph_the_rate_is_not_frozen() -> None:
    losses = run(FROZEN, changes={"@tf.function\n": ""}).losses
    assert losses[300] == losses[LAST]


def lengths(function) -> set[int]:
    """Return the lengths of the loop in forty calls of a function."""
    random.seed(0)
    return {int(function()) for _ in range(40)}


def test_python_loop_keeps_its_length_in_a_graph_alone(tf) -> None:
    says(
        "A loop whose length Python draws, as in "
        "`range(random.randint(1, 4))`, keeps the length that it had during "
        "tracing."
    )

    def turns():
        count = tf.constant(0)
        for _ in range(random.randint(1, 4)):
            count += 1
        return count

    assert len(lengths(turns)) == 4
    assert len(lengths(tf.function(turns))) == 1


def test_range_of_a_tensor_changes_its_length(tf) -> None:
    @tf.function
    def turns(length):
        count = tf.constant(0)
        for _ in range(length):
            count += 1
        return count

    assert [int(turns(tf.constant(n))) for n in (1, 2, 3)] == [1, 2, 3]
    assert turns.experimental_get_tracing_count() == 1


def test_while_loop_of_the_graph_changes_its_length(tf) -> None:
    def while_loop(n):
        return tf.while_loop(lambda i: i < n, lambda i: [i + 1], [0])[0]

    graph = tf.function(while_loop, autograph=False)
    assert [int(graph(tf.constant(n))) for n in (1, 2, 3)] == [1, 2, 3]
    assert graph.experimental_get_tracing_count() == 1
