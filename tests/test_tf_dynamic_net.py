"""The loop of the dynamic net in TensorFlow is part of its graph."""

import pytest

from harness import Run, import_tensorflow, run, shared_run
from scripts import STEP_COUNT

SCRIPT = "further/tf_dynamic_net.py"


@pytest.fixture(scope="module")
def result() -> Run:
    import_tensorflow()
    return shared_run(SCRIPT)


@pytest.fixture(scope="module")
def loops(result) -> list[list[str]]:
    """The operations in the body of each loop of the graph."""
    graph = result.names["graph"]
    functions = graph.as_graph_def().library.function
    bodies = {f.signature.name: [n.op for n in f.node_def] for f in functions}
    return [
        bodies[op.get_attr("body").name]
        for op in graph.get_operations()
        if "While" in op.type
    ]


def test_all_four_depths_are_drawn(result) -> None:
    assert set(result.draws) == {1, 2, 3, 4}
    assert len(result.draws) == STEP_COUNT


def test_one_trace_serves_all_depths(result) -> None:
    assert result.names["train_step"].experimental_get_tracing_count() == 1


def test_printed_depth_is_the_one_that_was_used(result) -> None:
    assert result.depths == {t: result.draws[t] for t in result.losses}


def test_a_number_as_depth_is_traced_again(result) -> None:
    changes = {"tf.constant(depth))\n    if": "depth)\n    if"}
    changed = run(SCRIPT, steps=20, changes=changes)
    count = changed.names["train_step"].experimental_get_tracing_count()
    # Once more for the look into the graph, with a Tensor.
    assert count == len(set(changed.draws)) + 1


def test_loop_over_a_list_leaves_an_update_a_parameter(result) -> None:
    operations = result.names["graph"].get_operations()
    kinds = [op.type for op in operations]
    assert kinds.count("AssignSubVariableOp") == 6


def test_graph_has_a_loop_forward_and_a_loop_backward(result) -> None:
    kinds = [op.type for op in result.names["graph"].get_operations()]
    assert [kind for kind in kinds if "While" in kind] == [
        "While",
        "StatelessWhile",
    ]


def test_loop_forward_has_the_middle_layer_once(loops) -> None:
    forward, _ = loops
    assert forward.count("MatMul") == 1
    assert forward.count("Relu") == 1


def test_loop_backward_adds_up_the_gradient_of_shared_weights(loops) -> None:
    _, backward = loops
    assert backward.count("ReluGrad") == 1
    # The gradients with respect to h_relu and to the weight.
    assert backward.count("MatMul") == 2
    # The weight and the bias: each is added to the sum so far.
    assert backward.count("AddN") == 2
