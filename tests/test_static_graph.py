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


def test_graph_is_traced_once_over_500_steps(result) -> None:
    assert result.lines.count("tracing train_step") == 1
    assert result.names["train_step"].experimental_get_tracing_count() == 1


def test_forward_backward_and_update_are_in_the_graph(result) -> None:
    x, y = result.names["x"], result.names["y"]
    graph = result.names["train_step"].get_concrete_function(x, y).graph
    operations = graph.get_operations()
    kinds = [operation.type for operation in operations]
    # Two products forward; w2's, h_relu's and w1's gradient backward.
    assert kinds.count("MatMul") == 5
    assert kinds.count("Relu") == kinds.count("ReluGrad") == 1
    assert kinds.count("AssignSubVariableOp") == 2


def test_other_data_runs_through_the_same_graph(tf, numbers) -> None:
    names = run(SCRIPT, numbers=numbers).names
    rng = np.random.default_rng(11)
    x, y = (
        rng.standard_normal(s).astype("float32")
        for s in (
            (64, 1000),
            (64, 10),
        )
    )
    layers = [(names["w1"].numpy(), None), (names["w2"].numpy(), None)]
    expected, _ = train(x, y, layers, [[0, 1]] * 2, GradientDescent(1e-6))
    for loss in expected:
        got = names["train_step"](tf.constant(x), tf.constant(y))
        assert float(got) == pytest.approx(loss, rel=1e-4)
    assert names["train_step"].experimental_get_tracing_count() == 1


def test_another_shape_is_traced_again(tf, result) -> None:
    train_step = result.names["train_step"]
    train_step(tf.zeros((32, 1000)), tf.zeros((32, 10)))
    assert train_step.experimental_get_tracing_count() == 2


def picked_depths(step) -> set[int]:
    """Call step 40 times on 1; each hidden layer doubles what it is given."""
    return {round(np.log2(float(step(1.0)))) for _ in range(40)}


def double_1_to_4_times(value):
    for _ in range(random.randint(1, 4)):
        value = 2.0 * value
    return value


def test_python_loop_in_a_static_graph_keeps_its_first_depth(tf) -> None:
    random.seed(0)
    graph = tf.function(double_1_to_4_times)
    assert len(picked_depths(lambda v: graph(tf.constant(v)))) == 1


def test_same_loop_in_pytorch_changes_from_call_to_call() -> None:
    random.seed(0)
    depths = picked_depths(lambda v: double_1_to_4_times(torch.tensor(v)))
    assert depths == {1, 2, 3, 4}


def test_loop_of_the_graph_itself_changes_from_call_to_call(tf) -> None:
    # What a static graph needs instead: tf.while_loop, its bound an argument.
    @tf.function
    def double(value, depth):
        return tf.while_loop(
            lambda i, _: i < depth,
            lambda i, v: (i + 1, 2.0 * v),
            (tf.constant(0), value),
        )[1]

    value = tf.constant(1.0)
    results = [double(value, tf.constant(d)).numpy() for d in (1, 2, 3, 4)]
    assert results == [2, 4, 8, 16]
    assert double.experimental_get_tracing_count() == 1


def test_loop_over_tf_range_is_turned_into_one_of_the_graph(tf) -> None:
    @tf.function
    def double(value, depth):
        for _ in tf.range(depth):
            value = 2.0 * value
        return value

    value = tf.constant(1.0)
    results = [double(value, tf.constant(d)).numpy() for d in (1, 2, 3, 4)]
    assert results == [2, 4, 8, 16]
    assert double.experimental_get_tracing_count() == 1


def test_tensorflow_runs_eagerly_unless_asked(tf) -> None:
    assert tf.executing_eagerly()
    assert float(tf.constant(1.0) + 1.0) == 2.0
