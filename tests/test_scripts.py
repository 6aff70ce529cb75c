"""Every script, run the way a learner runs it."""

import ast
import functools
import re
import subprocess
import sys

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
from pages import says
from scripts import (
    BY_PATH,
    NINE,
    ORACLES,
    SCRIPTS,
    STEP_COUNT,
    STEPS,
    TRAINING,
    needs,
)

NINE_WITH_TORCH = [script for script in NINE if needs(script, "torch")]
# absl's log lines, which TensorFlow writes on import whatever is set.
TENSORFLOW_LOG = re.compile(
    r"[IWE]\d{4} [\d:.]+ .*|\d{4}-\d\d-\d\d [\d:.]+: [IWE] .*"
    r"|WARNING: All log messages before absl::InitializeLog.*"
    r"|To enable the following instructions: .*"
)
# All but costs.py, which takes two minutes and prints times.
RUNNING = [script.path for script in SCRIPTS if script.path != COSTS]
CHOICE = """\
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
"""


def source(script: str) -> str:
    return (ROOT / script).read_text("utf-8")


@functools.cache
def process(script: str) -> tuple[int, str, str]:
    """Run a script as python does; return exit code, stdout and stderr."""
    if needs(script, "tensorflow") or needs(script, "keras"):
        import_tensorflow()
    return make_outputs.run(script)


# The table of scripts.


def test_table_lists_every_script() -> None:
    assert sorted(BY_PATH) == make_outputs.SCRIPTS, (
        "tests/scripts.py and the folders list other scripts; give each "
        "script its line in tests/scripts.py"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
def test_every_script_has_an_oracle(script) -> None:
    file, _, test = script.oracle.partition("::")
    if script.oracle not in ORACLES:
        defined = (ROOT / "tests" / file).read_text("utf-8")
        assert f"\ndef {test}(" in defined, (
            f"{script.path} names the oracle {script.oracle} in "
            "tests/scripts.py, and there is none of that name; write it"
        )


def test_there_are_nine_and_eight_need_no_tensorflow() -> None:
    says("Learn PyTorch by reading one small program nine times")
    assert len(NINE) == 9
    says("`pip install numpy torch` is enough for eight of the nine")
    assert len([s for s in NINE if not needs(s, "tensorflow")]) == 8


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
def test_script_imports_what_the_table_says(script) -> None:
    imported = set()
    for node in ast.walk(ast.parse(source(script.path))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    packages = imported - sys.stdlib_module_names
    assert sorted(packages) == sorted(script.needs.split()), script.path


# Their runs.


@pytest.mark.parametrize("script", RUNNING)
def test_docstring_gives_the_command(script: str) -> None:
    docstring = ast.get_docstring(ast.parse(source(script)))
    assert f"\n    python {script}" in docstring, script


@pytest.mark.parametrize("script", RUNNING)
def test_script_ends_well_and_says_nothing_on_stderr(script: str) -> None:
    code, _, stderr = process(script)
    said = stderr.splitlines()
    if needs(script, "tensorflow") or needs(script, "keras"):
        said = [line for line in said if not TENSORFLOW_LOG.fullmatch(line)]
    assert code == 0, stderr
    assert said == []


@pytest.mark.parametrize("script", RUNNING)
def test_script_prints_what_the_page_shows(script: str) -> None:
    printed = Run(process(script)[1].splitlines())
    check_same(script, printed, captured(script))


@pytest.mark.parametrize("script", RUNNING)
def test_script_prints_the_same_again(
    script: str, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)  # training_loop.py writes a file there.
    monkeypatch.setattr(sys, "argv", [script])
    assert shared_run(script).lines == process(script)[1].splitlines(), script


@pytest.mark.parametrize("script", TRAINING)
def test_script_trains(script: str) -> None:
    check_trains(script, Run(process(script)[1].splitlines()))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("script", TRAINING)
def test_script_trains_with_other_seeds(script: str, seed: int) -> None:
    check_trains(script, run(script, seed=seed))


@pytest.mark.parametrize("script", NINE)
def test_seed_reaches_the_script(script: str) -> None:
    first = [run(script, seed=seed, steps=1).losses[0] for seed in (0, 1)]
    assert first[0] != first[1], script


def test_scripts_take_the_steps_that_the_page_says() -> None:
    (count,) = says("Then, {} times, *gradient descent* moves each weight")
    assert count == STEP_COUNT
    assert len(STEPS) == 11


def test_pytorch_warns_without_numpy_and_trains_all_the_same(tmp_path) -> None:
    script = "nn/two_layer_net_nn.py"
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('numpy')")
    code, stdout, stderr = make_outputs.run(script, PYTHONPATH=str(tmp_path))
    assert code == 0, stderr
    assert "UserWarning: Failed to initialize NumPy" in stderr
    assert stdout == process(script)[1]


# Devices.


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_script_takes_the_accelerator_if_there_is_one(
    script, monkeypatch
) -> None:
    assert source(script).count(CHOICE) == 1, script
    meta = torch.device("meta")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: meta)
    names = {"torch": torch}
    exec(CHOICE, names)
    assert names["device"] == meta


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_script_makes_its_tensors_on_the_device(script: str) -> None:
    for line in source(script).splitlines():
        if "torch.randn(" in line:
            assert "device=device" in line, f"{script}: {line}"


@pytest.mark.parametrize("script", NINE_WITH_TORCH)
def test_tensors_live_on_cuda(script: str, cuda: str) -> None:
    result = run(script, device=cuda)
    for name in ("x", "y", "loss"):
        assert result.names[name].is_cuda, f"{script}: {name}"
    check_trains(script, result)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_device_cuda_fails_clearly_where_there_is_no_cuda() -> None:
    command = [sys.executable, "-m", "pytest", "--device", "cuda"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert b"PyTorch finds no CUDA device here" in result.stderr


# What the nets have learned.


def predictions(script: str, result: Run, x: np.ndarray) -> list[np.ndarray]:
    """Return what a trained net makes of inputs, at each depth that it has."""
    names = result.names
    if "model" not in names:
        w1, w2 = to_array(names["w1"]), to_array(names["w2"])
        return [np.maximum(x @ w1, 0) @ w2]
    inputs = torch.from_numpy(x).float()
    depths = [(1,), (2,), (3,), (4,)] if result.draws else [()]
    with torch.no_grad():
        return [names["model"](inputs, *depth).numpy() for depth in depths]


@pytest.mark.parametrize("script", NINE)
def test_trained_nets_have_only_memorised(script: str) -> None:
    (examples,) = says(
        "the net has memorised {} examples. On new examples it does worse "
        "than always predicting 0"
    )
    assert examples == 64
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((64, 1000)), rng.standard_normal((64, 10))
    for y_pred in predictions(script, shared_run(script), x):
        assert np.square(y_pred - y).sum() > 1.03 * np.square(y).sum()
