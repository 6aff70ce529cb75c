"""The graphs that torch.compile catches, and what its own backend makes."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

import make_outputs
from harness import Run, run

SCRIPT = "further/compiled_net.py"
# Operations that a compiler can fuse, and no gradients: one piece of C++.
DEFAULT_BACKEND = """
import torch

@torch.compile
def compute_loss(h, y):
    return torch.square(torch.relu(h) - y).sum()

print(compute_loss(torch.arange(-3.0, 7.0), torch.ones(10)).item())
"""


def graphs_of(function, *calls, **options) -> list[list[torch.fx.Node]]:
    """Return the nodes of each graph that is caught in calls of a function."""
    graphs = []

    def keep(graph_module, example_inputs):
        graphs.append(list(graph_module.graph.nodes))
        return graph_module

    torch.compiler.reset()  # Else the graphs of an earlier call would do.
    compiled = torch.compile(function, backend=keep, **options)
    for arguments in calls:
        assert torch.equal(compiled(*arguments), function(*arguments))
    return graphs


def compute_loss(result: Run) -> tuple:
    """Return the function that a run compiled, and its arguments."""
    arguments = [result.names[name] for name in ("x", "y", "w1", "w2")]
    return result.names["compute_loss"].__wrapped__, arguments


def test_losses_are_those_of_the_autograd_script() -> None:
    for seed in (0, 1):
        eager = run("autograd/two_layer_net_autograd.py", seed=seed)
        graph, *losses = run(SCRIPT, seed=seed).lines
        assert graph.startswith("graph: ") and losses == eager.lines


def test_graph_holds_the_operations_of_the_function() -> None:
    result = run(SCRIPT)
    function, arguments = compute_loss(result)
    (nodes,) = graphs_of(function, arguments)
    assert result.lines[0].split()[1:] == [node.name for node in nodes]
    kinds = [node.op.partition("_")[0] for node in nodes]
    assert kinds == ["placeholder"] * 4 + ["call"] * 6 + ["output"]
    operations = ["matmul", "relu", "matmul", "sub", "square", "sum"]
    for node, operation in zip(nodes[4:-1], operations, strict=True):
        assert operation in str(node.target)


def test_depth_is_unrolled_into_a_graph_of_its_own_up_to_eight() -> None:
    names = run("nn/dynamic_net.py").names
    depths = [1, 2, 3, 4, 1, 2, 3, 4, *range(5, 12)]
    calls = [(names["x"] + i, depth) for i, depth in enumerate(depths)]
    graphs = graphs_of(names["model"], *calls)
    relus = [sum("relu" in node.name for node in nodes) for nodes in graphs]
    assert relus[:4] == [1, 2, 3, 4] and len(graphs) == 8


def test_if_on_the_value_of_a_tensor_breaks_the_graph() -> None:
    result = run("faults/branch.diff")
    first, second, third = (s for s in result.lines if s[:6] == "graph:")
    assert first.endswith(" gt output") and "mul" not in first + second
    place = result.lines.index(third)
    around = [line.split()[1] for line in result.lines[place - 1 : place + 2]]
    assert (around[0], around[2]) == ("50", "100") and " mul " in third
    with pytest.raises(RuntimeError, match="Data-dependent branching"):
        graphs_of(*compute_loss(result), fullgraph=True)


def test_where_picks_in_one_graph() -> None:
    def pick(v):
        return torch.where(v.sum() > 0, 3 * v, v - 1)

    (nodes,) = graphs_of(pick, [torch.ones(1)], [-torch.ones(1)])
    names = [node.name for node in nodes]
    assert names[-5:] == ["gt", "mul", "sub", "where", "output"]


def test_what_is_caught_again() -> None:
    def doubled(v, flag=True):
        return 2 * v if flag else v.exp()

    v = torch.ones(64)
    calls = [[v], [v + 1], [v.double()], [v, False]]
    calls += [[v[:size]] for size in (32, 7, 1, 0)]
    graphs = [graphs_of(doubled, *calls[:end]) for end in range(1, 9)]
    assert list(map(len, graphs)) == [1, 1, 2, 3, 4, 4, 5, 6]
    assert "exp" not in str(graphs[0]) and "mul" not in str(graphs[3][2])


@pytest.mark.skipif(
    not shutil.which("cl" if os.name == "nt" else "g++")
    or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="a C++ compiler or Python's headers are missing",
)
def test_default_backend_builds_one_loop_in_cpp(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(DEFAULT_BACKEND)
    code, stdout, stderr = make_outputs.run(
        script,
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path),
        # Without what makes a second build or the code faster: half the time.
        TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS="0",
        TORCHINDUCTOR_VEC_ISA_OK="0",
    )
    assert (code, stdout, stderr) == (0, "59.0\n", "")
    (source,) = tmp_path.rglob("*.main.cpp")
    cpp = source.read_text("utf-8")
    assert "#include <Python.h>" in cpp and cpp.count("for(") == 1
    assert list(source.parent.glob("*.main.so"))
