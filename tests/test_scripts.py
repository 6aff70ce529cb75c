"""Every script, run the way a learner runs it."""

import ast
import functools
import re
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch

import make_outputs
from harness import (
    Run,
    captured,
    check_same,
    check_trains,
    import_tensorflow,
    run,
    shared_run,
    to_array,
)
from make_outputs import COSTS, ROOT
from pages import MEND, line_of, read, says
from scripts import (
    BY_PATH,
    NINE,
    ORACLES,
    SCRIPTS,
    STEP_COUNT,
    TRAINING,
    needs,
)

NINE_WITH_TORCH = [script for script in NINE if needs(script, "torch")]
# What TensorFlow logs on import whatever is set, through absl or by itself.
TENSORFLOW_LOG = re.compile(
    "|".join(
        [
            # absl: I0000 00:00:1795538785.129574 27497 port.cc:153] ...
            r"[IWE]\d{4} [\d:.]+ .*",
            r"WARNING: All log messages before absl::InitializeLog.*",
            # by itself: 2026-11-24 16:41:44.129574: I tensorflow/...
            r"\d{4}-\d\d-\d\d [\d:.]+: [IWE] .*",
            # the second line of what it says of the processor
            r"To enable the following instructions: .*",
        ]
    )
)
# All but costs.py, which takes two minutes and prints times.
RUNNING = [script.path for script in SCRIPTS if script.path != COSTS]


class Process(NamedTuple):
    """How a process ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


@functools.cache
def run_as_python(script: str) -> Process:
    """Run a script the way a learner does, once for all tests."""
    if needs(script, "tensorflow") or needs(script, "keras"):
        import_tensorflow()
    return Process(*make_outputs.run(script))


def printed(script: str) -> Run:
    """Return what a script prints, as a run."""
    return Run(run_as_python(script).stdout.splitlines())


@functools.cache
def named_tests() -> set[str]:
    """Return each test as the table of scripts names it: FILE::NAME."""
    return {
        f"{path.name}::{name}"
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(
            r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE
        )
    }


# The table of scripts.


def table_line(script: str) -> str:
    """Return where tests/scripts.py lists a script, as file:line."""
    table = read("tests/scripts.py")
    return f"tests/scripts.py:{line_of(table, table.index(script))}"


def test_table_lists_every_script_and_no_other() -> None:
    differ = sorted(set(BY_PATH) ^ set(make_outputs.SCRIPTS))
    assert not differ, (
        f"only one of tests/scripts.py and the folders has {differ}; "
        "give each script its line in tests/scripts.py"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
def test_oracle_in_the_table_is_a_known_name_or_a_test(script) -> None:
    assert script.oracle in {*ORACLES, *named_tests()}, (
        f"{table_line(script.path)}: the oracle {script.oracle!r} is neither "
        f"one of {ORACLES} nor a test; write it, or correct the name"
    )


def imported_packages(script: str) -> list[str]:
    """Return what a script imports, beside Python's own modules."""
    imported = set()
    for node in ast.walk(ast.parse(read(script))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    return sorted(imported - sys.stdlib_module_names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
def test_script_imports_what_the_table_says(script) -> None:
    imported = imported_packages(script.path)
    assert imported == sorted(script.needs.split()), (
        f"{table_line(script.path)}: {script.path} needs {script.needs!r} "
        f"here, and it imports {imported}; correct one of them"
    )


# What the page says of the nine.


def test_page_says_how_many_scripts_there_are() -> None:
    says("Learn PyTorch by reading one small program nine times")
    assert len(NINE) == 9, f"there are {len(NINE)}; {MEND}"


def test_numpy_and_torch_are_enough_for_eight_of_the_nine() -> None:
    says("`pip install numpy torch` is enough for eight of the nine")
    packages = [set(BY_PATH[script].needs.split()) for script in NINE]
    enough = [each for each in packages if each <= {"numpy", "torch"}]
    assert len(enough) == 8, f"for {len(enough)}; {MEND}"


def test_page_states_the_step_count() -> None:
    (count,) = says("Then, {} times, *gradient descent* moves each weight")
    assert count == STEP_COUNT, f"it is {STEP_COUNT}; {MEND}"


@pytest.mark.parametrize("script", NINE)
def test_script_loops_once_over_the_step_count(script: str) -> None:
    loop = f"\nfor t in range({STEP_COUNT}):\n"
    assert read(script).count(loop) == 1, (
        f"{script} needs this line once: {loop.strip()}\n"
        f"write it, then run: python {script}"
    )


@pytest.mark.parametrize("script", NINE)
def test_script_has_the_examples_that_the_page_states(script: str) -> None:
    (examples,) = says("the net has memorised {} examples.")
    assert len(shared_run(script).names["x"]) == examples, (
        f"{script} has another number of examples; {MEND}"
    )


# Their runs.


@pytest.mark.parametrize("script", [script.path for script in SCRIPTS])
def test_docstring_gives_the_command(script: str) -> None:
    docstring = ast.get_docstring(ast.parse(read(script)))
    command = f"    python {script}"
    assert command in docstring.splitlines(), (
        f"{script}:1: the docstring has no line {command!r}; write it, "
        "then run: make readme"
    )


@pytest.mark.parametrize("script", RUNNING)
def test_script_exits_with_0(script: str) -> None:
    code, _, stderr = run_as_python(script)
    assert code == 0, f"{stderr}\nto see it, run: python {script}"


@pytest.mark.parametrize("script", RUNNING)
def test_script_writes_nothing_to_stderr(script: str) -> None:
    written = run_as_python(script).stderr.splitlines()
    if needs(script, "tensorflow") or needs(script, "keras"):
        written = [x for x in written if not TENSORFLOW_LOG.fullmatch(x)]
    assert not written, "\n".join(
        [*written, f"to see it, run: python {script} > /dev/null"]
    )


@pytest.mark.parametrize("script", RUNNING)
def test_script_prints_its_kept_output_up_to_rounding(script: str) -> None:
    check_same(script, printed(script), captured(script))


@pytest.mark.parametrize("script", RUNNING)
def test_shared_run_prints_what_python_prints(
    script: str, monkeypatch, tmp_path
) -> None:
    # Other tests look into shared_run() for what the script computes.
    monkeypatch.chdir(tmp_path)  # training_loop.py writes a file there.
    assert shared_run(script).lines == printed(script).lines, (
        f"run() of tests/harness.py is not what {script} does; "
        f"compare: python {script}"
    )


# To train is to print finite losses at the steps STEPS, which fall at least
# as far as tests/scripts.py says.
@pytest.mark.parametrize("script", TRAINING)
def test_script_trains(script: str) -> None:
    check_trains(script, printed(script))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("script", TRAINING)
def test_script_trains_with_other_seeds(script: str, seed: int) -> None:
    check_trains(script, run(script, seed=seed))


@pytest.mark.parametrize("script", NINE)
def test_same_seed_gives_the_same_first_loss(script: str) -> None:
    again = run(script, seed=0, steps=1)
    assert again.losses[0] == shared_run(script).losses[0], (
        f"{script} draws other numbers each time; set its seed, then run: "
        f"python {script}"
    )


@pytest.mark.parametrize("script", NINE)
def test_another_seed_gives_another_first_loss(script: str) -> None:
    other = run(script, seed=1, steps=1)
    assert other.losses[0] != shared_run(script).losses[0], (
        f"{script} draws the same numbers whatever its seed is; draw them "
        f"from the generator that is seeded, then run: python {script}"
    )


# PyTorch without numpy.

WITHOUT_NUMPY = "nn/two_layer_net_nn.py"


@pytest.fixture(scope="module")
def without_numpy(tmp_path_factory) -> Process:
    """A run of a script where numpy cannot be imported."""
    folder = tmp_path_factory.mktemp("without_numpy")
    (folder / "numpy.py").write_text("raise ModuleNotFoundError('numpy')")
    return Process(*make_outputs.run(WITHOUT_NUMPY, PYTHONPATH=str(folder)))


def test_pytorch_warns_without_numpy(without_numpy: Process) -> None:
    warning = "UserWarning: Failed to initialize NumPy"
    assert warning in without_numpy.stderr


def test_script_prints_the_same_without_numpy(
    without_numpy: Process,
) -> None:
    assert without_numpy.stdout == run_as_python(WITHOUT_NUMPY).stdout


def test_script_without_numpy_exits_with_0(without_numpy: Process) -> None:
    assert without_numpy.code == 0, without_numpy.stderr


# Devices.

CHOICE = """\
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
"""


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_script_has_the_lines_that_choose_its_device(script: str) -> None:
    assert read(script).count(CHOICE) == 1, (
        f"{script} needs these lines once:\n{CHOICE}"
        f"write them, then run: python {script}"
    )


def tensors(result: Run) -> dict[str, torch.Tensor]:
    """Return the Tensors of a run by name, and its model's parameters."""
    names = result.names
    found = {k: v for k, v in names.items() if isinstance(v, torch.Tensor)}
    if "model" in names:
        found.update(names["model"].named_parameters())
    return found


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_script_starts_with_every_tensor_on_its_device(script: str) -> None:
    # Every machine has the device "meta", whose Tensors hold no numbers: a
    # step would fail to print the loss.
    result = run(script, device="meta", steps=0)
    devices = {k: v.device.type for k, v in tensors(result).items()}
    assert set(devices.values()) == {"meta"}, (
        f"{script} makes a Tensor elsewhere than on its device, which is "
        f"meta here: {devices}; give it device=device, or use .to(device), "
        f"then run: python {script}"
    )


@functools.cache
def run_on_cuda(script: str) -> Run:
    return run(script, device="cuda")


@pytest.mark.parametrize("name", ["x", "y", "loss"])
@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_tensor_lives_on_cuda(script: str, name: str, cuda: str) -> None:
    assert run_on_cuda(script).names[name].is_cuda


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_script_trains_on_cuda(script: str, cuda: str) -> None:
    check_trains(script, run_on_cuda(script))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_option_device_cuda_says_that_there_is_no_cuda() -> None:
    command = [sys.executable, "-m", "pytest", "--co", "--device", "cuda"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert b"PyTorch finds no CUDA device here" in result.stderr


# What the nets have learned.


def predictions(result: Run, x: np.ndarray) -> list[np.ndarray]:
    """Return what a trained net makes of inputs, at each depth that it has."""
    names = result.names
    if "model" not in names:
        w1, w2 = to_array(names["w1"]), to_array(names["w2"])
        return [np.maximum(x @ w1, 0) @ w2]
    model, inputs = names["model"], torch.from_numpy(x).float()
    with torch.no_grad():
        if result.draws:  # dynamic_net.py draws the depth of each step.
            return [model(inputs, depth).numpy() for depth in (1, 2, 3, 4)]
        return [model(inputs).numpy()]


@pytest.mark.parametrize("script", NINE)
def test_net_is_worse_than_predicting_0_on_new_examples(script: str) -> None:
    says("On new examples it does worse than always predicting 0")
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((64, 1000)), rng.standard_normal((64, 10))
    predicting_0 = np.square(y).sum()
    errors = [
        np.square(y_pred - y).sum()
        for y_pred in predictions(shared_run(script), x)
    ]
    # The best of the nine, those with Adam, were 4.5 % worse.
    assert min(errors) > 1.03 * predicting_0
