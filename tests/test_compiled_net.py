"""The graphs that torch.compile captures, and what its own backend makes."""

import os
import re
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

import make_outputs
from harness import import_tensorflow, run, shared_run
from pages import blocks, says
from scripts import LAST, STEPS

SCRIPT = "further/compiled_net.py"
PAGE = "further/README_raw.md"


class Recorder:
    """A backend that keeps the graphs that it is handed."""

    def __init__(self) -> None:
        self.graphs: list[list[torch.fx.Node]] = []
        torch.compiler.reset()  # Else the graphs of an earlier test would do.

    def __call__(self, graph_module, example_inputs):
        self.graphs.append(list(graph_module.graph.nodes))
        return graph_module

    def operations(self) -> list[list[str]]:
        """Return the names of the operations of each graph."""
        return [
            [node.name for node in nodes if node.op.startswith("call")]
            for nodes in self.graphs
        ]


def double(v):
    return 2 * v


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def script():
    return shared_run(SCRIPT)


# The script.


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_are_those_of_the_autograd_script(seed: int) -> None:
    eager = run("autograd/two_layer_net_autograd.py", seed=seed)
    assert run(SCRIPT, seed=seed).lines[1:] == eager.lines


def test_graph_is_printed_once(script) -> None:
    graphs = [line for line in script.lines if line.startswith("graph:")]
    assert len(graphs) == 1


def test_graph_has_inputs_then_operations_then_output(
    script, recorder
) -> None:
    names = script.names
    function = names["compute_loss"].__wrapped__
    compiled = torch.compile(function, backend=recorder)
    compiled(*(names[name] for name in ("x", "y", "w1", "w2")))
    (nodes,) = recorder.graphs
    kinds = [node.op.partition("_")[0] for node in nodes]
    assert kinds == ["placeholder"] * 4 + ["call"] * 6 + ["output"]
    assert script.lines[0].split()[1:] == [node.name for node in nodes]


# Guards.


def test_log_names_the_guard_that_failed(tmp_path) -> None:
    (_, session), *_ = [
        block for block in blocks(PAGE, "pycon") if "update" in block[1]
    ]
    code = re.findall(r"^(?:>>>|\.\.\.) (.*)$", session, re.MULTILINE)
    (tmp_path / "update.py").write_text("\n".join(code))
    result = make_outputs.run(tmp_path / "update.py", TORCH_LOGS="recompiles")
    logged = re.findall(r"\[__recompiles\] (.*)$", result[2], re.MULTILINE)
    (shown,) = [
        block for _, block in blocks(PAGE, "text") if "Recompiling" in block
    ]
    lines = shown.splitlines()
    assert len(lines) == 3
    for line, of_page in zip(logged[:3], lines, strict=True):
        assert line.startswith(of_page)


def test_third_rate_needs_no_third_graph(recorder) -> None:
    says("a third rate needs no third graph")
    rate = 0.5

    @torch.compile(backend=recorder)
    def update(w1, grad_w1):
        return w1 - rate * grad_w1

    for changed, graphs in ((0.5, 1), (0.25, 2), (0.125, 2)):
        rate = changed
        new = update(torch.ones(2), torch.ones(2))
        assert new[0] == 1 - changed
        assert len(recorder.graphs) == graphs


def test_tensorflow_has_no_guard_on_a_rate() -> None:
    tf = import_tensorflow()
    rate = 0.5

    @tf.function
    def update(w1, grad_w1):
        return w1 - rate * grad_w1

    assert update(tf.ones(2), tf.ones(2))[0] == 0.5
    rate = 0.25
    assert update(tf.ones(2), tf.ones(2))[0] == 0.5


def test_other_numbers_need_no_new_graph(recorder) -> None:
    compiled = torch.compile(double, backend=recorder)
    compiled(torch.ones(3))
    compiled(torch.zeros(3))
    assert len(recorder.graphs) == 1


def test_graph_of_the_second_size_leaves_the_size_open(recorder) -> None:
    compiled = torch.compile(double, backend=recorder)
    for size in (4, 3, 2, 100):
        compiled(torch.ones(size))
    first, second = recorder.graphs  # None for the sizes 2 and 100.
    assert len(second) == len(first) + 1  # The size is an input too.


def test_open_size_does_not_serve_two_sizes(recorder) -> None:
    compiled = torch.compile(double, backend=recorder)
    for size in (4, 3, 2):
        compiled(torch.ones(size))
    assert len(recorder.graphs) == 2  # The second one serves a third size.
    for size in says("It serves all others but {} and {},"):
        before = len(recorder.graphs)
        compiled(torch.ones(int(size)))
        assert len(recorder.graphs) == before + 1


def plain() -> torch.Tensor:
    return torch.ones(2, 3)


def tracked() -> torch.Tensor:
    return plain().requires_grad_()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        pytest.param(plain, lambda: plain().double(), id="dtype"),
        pytest.param(plain, lambda: torch.ones(3, 2).T, id="strides"),
        pytest.param(plain, tracked, id="requires_grad"),
        pytest.param(
            tracked, lambda: torch.nn.Parameter(plain()), id="Parameter"
        ),
    ],
)
def test_another_kind_of_tensor_needs_a_graph(recorder, first, other) -> None:
    compiled = torch.compile(double, backend=recorder)
    compiled(first())
    compiled(other())
    assert len(recorder.graphs) == 2


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(torch.no_grad, id="no_grad"),
        pytest.param(
            lambda: torch.autocast("cpu", dtype=torch.bfloat16), id="autocast"
        ),
    ],
)
def test_another_setting_needs_a_graph(recorder, setting) -> None:
    compiled = torch.compile(double, backend=recorder)
    compiled(plain())
    with setting():
        compiled(plain())
    assert len(recorder.graphs) == 2


def test_another_number_of_threads_needs_a_graph(recorder) -> None:
    compiled = torch.compile(double, backend=recorder)
    threads = torch.get_num_threads()
    compiled(plain())
    try:
        torch.set_num_threads(threads + 1)
        compiled(plain())
    finally:
        torch.set_num_threads(threads)
    assert len(recorder.graphs) == 2


def test_function_gets_eight_graphs_then_warns(recorder, caplog) -> None:
    says("After eight graphs of one function, PyTorch warns")
    compiled = torch.compile(lambda v, word: len(word) * v, backend=recorder)
    for length in range(8):
        compiled(torch.ones(1), "a" * length)
    assert "hit config.recompile_limit" not in caplog.text
    assert compiled(torch.ones(1), "a" * 8) == 8
    assert "hit config.recompile_limit (8)" in caplog.text
    assert len(recorder.graphs) == 8


def test_validation_takes_one_graph(recorder) -> None:
    says("A validation pass under `no_grad` takes one of the eight.")
    model = torch.nn.Linear(3, 2)
    compiled = torch.compile(model, backend=recorder)
    for _ in range(3):
        compiled(plain())
        model.eval()
        with torch.no_grad():
            compiled(plain())
        model.train()
    assert len(recorder.graphs) == 2


# Python in the function.


def test_loop_is_unrolled_into_a_graph_for_each_depth(recorder) -> None:
    names = run("nn/dynamic_net.py", steps=1).names
    compiled = torch.compile(names["model"], backend=recorder)
    for depth in (1, 2, 3, 4, 1, 2, 3, 4):
        compiled(names["x"], depth)
    relus = [
        sum("relu" in name for name in names_of_graph)
        for names_of_graph in recorder.operations()
    ]
    assert relus == [1, 2, 3, 4]


def test_print_stands_between_two_graphs(recorder, capsys) -> None:
    @torch.compile(backend=recorder)
    def compute_loss(error):
        squares = error * error
        print("hello")
        return squares.sum()

    compute_loss(torch.ones(3))
    compute_loss(torch.ones(3))
    assert recorder.operations() == [["squares"], ["sum_1"]]
    assert capsys.readouterr().out == "hello\nhello\n"


def test_tensorflow_prints_only_while_it_traces(capsys) -> None:
    tf = import_tensorflow()

    @tf.function
    def double(v):
        print("hello")
        return 2 * v

    double(double(tf.ones(2)))
    assert capsys.readouterr().out == "hello\n"


def test_if_on_a_python_value_leaves_one_branch(recorder) -> None:
    @torch.compile(backend=recorder)
    def pick(v, flag):
        return v.exp() if flag else v.sin()

    for flag in (True, False, True):
        pick(torch.ones(1), flag)
    assert recorder.operations() == [["exp"], ["sin"]]


@pytest.fixture(scope="module")
def branch():
    return run("faults/branch.diff")


def test_branch_is_three_graphs(branch) -> None:
    first, second, third = (
        line for line in branch.lines if line.startswith("graph:")
    )
    assert first.endswith(" gt output")
    assert " mul " not in first + second
    assert " mul " in third


def test_third_graph_comes_when_its_branch_is_first_taken(
    branch, recorder
) -> None:
    names = branch.names
    x, y, w1, w2 = (names[name] for name in ("x", "y", "w1", "w2"))
    function = names["compute_loss"].__wrapped__
    compiled = torch.compile(function, backend=recorder)
    # Errors of 100 or more, twice; then the small ones of the trained net.
    for target, graphs in ((y + 100, 2), (y - 100, 2), (y, 3)):
        with torch.no_grad():
            compiled(x, target, w1, w2)
        assert len(recorder.graphs) == graphs


def test_net_learns_more_slowly_in_the_other_branch(branch, script) -> None:
    says("from there on, the net learns more slowly")
    assert branch.losses[STEPS[1]] == script.losses[STEPS[1]]
    # It prints half of the loss.
    assert 2 * branch.losses[LAST] > 4 * script.losses[LAST]


def test_graph_break_is_an_error_with_fullgraph(branch, recorder) -> None:
    names = branch.names
    compiled = torch.compile(
        names["compute_loss"].__wrapped__, backend=recorder, fullgraph=True
    )
    with pytest.raises(RuntimeError, match="Data-dependent branching"):
        compiled(*(names[name] for name in ("x", "y", "w1", "w2")))


def run_operations(function, *arguments) -> set[str]:
    """Return the names of PyTorch's operations that a call runs."""
    with torch.profiler.profile() as profile:
        function(*arguments)
    return {event.name for event in profile.events()}


def test_where_computes_both_sides_in_one_graph(recorder) -> None:
    @torch.compile(backend=recorder)
    def pick(v):
        return torch.where(v.sum() > 0, v.exp(), v.sin())

    for v in (torch.ones(1), -torch.ones(1)):
        assert {"aten::exp", "aten::sin"} <= run_operations(pick, v)
    assert len(recorder.graphs) == 1


def test_cond_runs_one_side_in_one_graph(recorder) -> None:
    @torch.compile(backend=recorder)
    def pick(v):
        return torch.cond(v.sum() > 0, torch.exp, torch.sin, [v])

    pick(torch.ones(1))
    sides = {"aten::exp", "aten::sin"}
    assert run_operations(pick, torch.ones(1)) & sides == {"aten::exp"}
    assert run_operations(pick, -torch.ones(1)) & sides == {"aten::sin"}
    assert len(recorder.graphs) == 1


# PyTorch's own backend.

COMPILED_SUM = """
import torch

@torch.compile
def compute_loss(h, y):
    return torch.square(torch.relu(h) - y).sum()

for size in (64, 32, 16, 1_000_000):
    print(compute_loss(torch.ones(size), torch.zeros(size)).item(), flush=True)
"""


@pytest.fixture(scope="module")
def inductor(tmp_path_factory) -> tuple[Path, str, str]:
    """The cache of a run with the default backend, its output, its log."""
    has_compiler = shutil.which("cl" if os.name == "nt" else "g++")
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    if not has_compiler or not has_headers:
        pytest.skip("a C++ compiler or Python's headers are missing")
    folder = tmp_path_factory.mktemp("inductor")
    (folder / "script.py").write_text(COMPILED_SUM)
    code, stdout, stderr = make_outputs.run(
        folder / "script.py",
        TORCH_LOGS="recompiles",
        TORCHINDUCTOR_CACHE_DIR=str(folder),
        # Without what makes a second build or the code faster: half the time.
        TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS="0",
        TORCHINDUCTOR_VEC_ISA_OK="0",
    )
    assert code == 0, stderr
    return folder, stdout, stderr


def test_default_backend_computes_the_sum(inductor) -> None:
    _, stdout, _ = inductor
    sums = [float(line) for line in stdout.split()]
    assert sums == [64, 32, 16, 1_000_000]


def test_default_backend_fuses_a_chain_into_one_loop(inductor) -> None:
    folder, _, _ = inductor
    source = min(folder.rglob("*.main.cpp"), key=lambda p: p.stat().st_mtime)
    assert source.read_text("utf-8").count("for(") == 1


def test_default_backend_includes_the_headers_of_python(inductor) -> None:
    folder, _, _ = inductor
    source = next(folder.rglob("*.main.cpp"))
    assert "#include <Python.h>" in source.read_text("utf-8")


def test_default_backend_leaves_on_disk_what_it_built(inductor) -> None:
    folder, _, _ = inductor
    assert list(folder.rglob("*.main.so"))


def test_default_backend_adds_a_guard_on_large_sizes(inductor) -> None:
    says("on a CPU, it compiles a sum once more when the size becomes large")
    _, _, log = inductor
    failed = re.findall(r"- 0/1: (.*)", log)  # Of the graph with open size.
    assert len(failed) == 1
    assert re.search(r"size\(\)\[0\] <= \d+", failed[0])
