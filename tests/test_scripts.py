"""Every script, run the way a learner runs it."""

import ast
import math
import os
import re
import subprocess
import sys

import pytest
import torch

from harness import (
    LINE,
    ON_CPU,
    PYTORCH_SCRIPTS,
    ROOT,
    SCRIPTS,
    STEPS,
    Run,
    needed_fall,
    own_processes,
    run,
    uses,
)

# absl's log lines, which TensorFlow writes on import whatever is set, and the
# two lines of them that carry no prefix.
TENSORFLOW_LOG = re.compile(
    r"[IWE]\d{4} [\d:.]+ .*"
    r"|\d{4}-\d\d-\d\d [\d:.]+: [IWE] .*"
    r"|WARNING: All log messages before absl::InitializeLog.*"
    r"|To enable the following instructions: .*"
)


def test_all_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 9


@pytest.mark.parametrize("script", SCRIPTS)
def test_exits_with_0_and_says_nothing_on_stderr(script: str) -> None:
    for code, _, stderr in own_processes(script):
        assert code == 0, stderr
        lines = stderr.splitlines()
        if uses(script, "tensorflow"):
            lines = [s for s in lines if not TENSORFLOW_LOG.fullmatch(s)]
        assert lines == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_prints_the_loss_every_50_steps_and_at_the_end(script: str) -> None:
    result = Run(own_processes(script)[0][1].splitlines())
    assert list(result.losses) == STEPS
    assert all(map(math.isfinite, result.losses.values()))
    assert len(result.lines) <= 12
    assert sum(bool(LINE.fullmatch(line)) for line in result.lines) == 11


@pytest.mark.parametrize("script", SCRIPTS)
def test_last_loss_is_far_below_the_first(script: str) -> None:
    result = Run(own_processes(script)[0][1].splitlines())
    assert result.fall >= needed_fall(script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_two_runs_print_the_same(script: str) -> None:
    (_, first, _), (_, second, _) = own_processes(script)
    assert first == second


@pytest.mark.parametrize("script", SCRIPTS)
def test_docstring_comes_first_and_names_the_command(script: str) -> None:
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree) or ""
    assert f"    python {script}" in docstring.splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_imports_nothing_from_this_repository(script: str) -> None:
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    ours = {path.stem for path in (*ROOT.iterdir(), *ROOT.glob("*/*.py"))}
    assert imported and not imported & ours


def test_scripts_run_where_an_accelerator_is_hidden() -> None:
    # What the tests do where Apple's MPS is, tried everywhere.
    script = "tensor/two_layer_net_tensor.py"
    hidden = subprocess.run(
        [sys.executable, "-c", ON_CPU, str(ROOT / script)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        encoding="utf-8",
    )
    assert hidden.stderr == ""
    assert hidden.stdout == own_processes(script)[0][1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_device_cuda_fails_clearly_where_there_is_no_cuda() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--device", "cuda"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "PyTorch finds no CUDA device here" in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_needs_a_single_package(script: str) -> None:
    packages = ("numpy", "torch", "tensorflow")
    assert sum(uses(script, package) for package in packages) == 1


def test_pytorch_warns_without_numpy_and_trains_all_the_same(tmp_path) -> None:
    script = "nn/two_layer_net_nn.py"
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('numpy')")
    result = subprocess.run(
        [sys.executable, "-c", ON_CPU, str(ROOT / script)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert "UserWarning: Failed to initialize NumPy" in result.stderr
    assert result.returncode == 0
    assert result.stdout == own_processes(script)[0][1]


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_device_is_chosen_in_one_line(script: str) -> None:
    source = (ROOT / script).read_text(encoding="utf-8")
    assert (
        source.count("device = torch.accelerator.current_accelerator()") == 1
    )
    assert "cuda" not in source


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_tensors_live_on_cuda(script: str, cuda: str) -> None:
    result = run(script, device=cuda)
    names = result.names
    model = names.get("model")
    parameters = model.parameters() if model else [names["w1"], names["w2"]]
    results = [names["x"], names["y"], names["y_pred"], names["loss"]]
    for tensor in [*results, *parameters]:
        assert tensor.device.type == "cuda"
    assert list(result.losses) == STEPS
    assert result.fall >= needed_fall(script)


def test_one_operation_needs_its_tensors_on_one_device(cuda: str) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, 2) @ torch.ones(2, 2, device=cuda)
