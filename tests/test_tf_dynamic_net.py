"""The loop of the dynamic net in TensorFlow is part of its graph."""

import pytest

from harness import Run, import_tensorflow, run


@pytest.fixture(scope="module")
def result() -> Run:
    import_tensorflow()
    return run("further/tf_dynamic_net.py")


def test_one_trace_serves_all_four_depths(result) -> None:
    assert result.names["train_step"].experimental_get_tracing_count() == 1
    assert set(result.draws) == {1, 2, 3, 4} and len(result.draws) == 500
    assert result.depths == {t: result.draws[t] for t in result.losses}


def test_range_of_a_tensor_means_the_same(result) -> None:
    changes = {"tf.range(depth - 1)": "range(depth - 1)"}
    python_range = run("further/tf_dynamic_net.py", changes=changes)
    assert python_range.lines == result.lines


def test_loop_is_an_operation_of_the_graph(result) -> None:
    graph = result.names["graph"]
    kinds = [op.type for op in graph.get_operations()]
    assert kinds.count("AssignSubVariableOp") == 6
    line = result.lines[-1].split()
    assert line == ["graph:", *[k for k in kinds if k in line]]
    assert line[1:5] == ["MatMul", "Relu", "While", "MatMul"]
    library = graph.as_graph_def().library.function
    bodies = {f.signature.name: [n.op for n in f.node_def] for f in library}
    loops = [op for op in graph.get_operations() if "While" in op.type]
    assert [op.type for op in loops] == ["While", "StatelessWhile"]
    forward, backward = (bodies[op.get_attr("body").name] for op in loops)
    assert forward.count("MatMul") == forward.count("Relu") == 1
    assert backward.count("ReluGrad") == 1
    # h_relu's gradient and the weight's, which is added to the sum so far.
    assert backward.count("MatMul") == backward.count("AddN") == 2
