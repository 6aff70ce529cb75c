"""Every script, run the way a learner runs it."""

import ast
import math
import re
import subprocess
import sys

import pytest
import torch

import make_outputs
from harness import (
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

CHOICE = """\
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
"""
# absl's log lines, which TensorFlow writes on import whatever is set.
TENSORFLOW_LOG = re.compile(
    r"[IWE]\d{4} [\d:.]+ .*"
    r"|\d{4}-\d\d-\d\d [\d:.]+: [IWE] .*"
    r"|WARNING: All log messages before absl::InitializeLog.*"
    r"|To enable the following instructions: .*"
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_exits_with_0_and_says_nothing_on_stderr(script: str) -> None:
    for code, _, stderr in own_processes(script):
        assert code == 0, stderr
        lines = stderr.splitlines()
        if uses(script, "tensorflow", "keras"):
            lines = [s for s in lines if not TENSORFLOW_LOG.fullmatch(s)]
        assert lines == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_prints_the_loss_every_50_steps_and_it_falls(script: str) -> None:
    result = Run(own_processes(script)[0][1].splitlines())
    assert list(result.losses) == STEPS
    assert all(map(math.isfinite, result.losses.values()))
    assert result.fall >= needed_fall(script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_two_runs_print_the_same(script: str) -> None:
    (_, first, _), (_, second, _) = own_processes(script)
    assert first == second


@pytest.mark.parametrize("script", SCRIPTS)
def test_docstring_names_the_command_and_nothing_of_ours_is_imported(script):
    source = (ROOT / script).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert f"    python {script}" in docstring.splitlines()
    imported = re.findall(r"^ *(?:import|from) ([\w.]+)", source, re.MULTILINE)
    ours = {path.stem for path in (*ROOT.iterdir(), *ROOT.glob("*/*.py"))}
    assert imported and not {name.split(".")[0] for name in imported} & ours


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_seed_reaches_the_threshold(script: str) -> None:
    # Those that are slower, as they build a graph anew, take five.
    few = script.startswith("further/") or uses(script, "tensorflow")
    seeds = range(1, 6 if few else 21)
    runs = [run(script, seed=seed) for seed in seeds]
    for result in runs:
        assert list(result.losses) == STEPS
        assert all(map(math.isfinite, result.losses.values()))
        assert result.fall >= needed_fall(script)
    # The seeds reached the script.
    assert len({result.losses[0] for result in runs}) == len(seeds)


def test_rounding_depends_on_the_order_and_is_built_on() -> None:
    script = "tensor/two_layer_net_tensor.py"
    turned = {"h = x @ w1": "h = x.flip(1) @ w1.flip(0)"}
    one, other = run(script).losses, run(script, changes=turned).losses
    apart = [abs(one[step] / other[step] - 1) for step in (50, 499)]
    assert 0 < 10 * apart[0] < apart[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_device_cuda_fails_clearly_where_there_is_no_cuda() -> None:
    command = [sys.executable, "-m", "pytest", "--device", "cuda"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert b"PyTorch finds no CUDA device here" in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_needs_a_single_package(script: str) -> None:
    packages = {"tensorflow": "/tf_", "keras": "keras", "torch": ""}
    packages = {"numpy": r"_numpy.py|own_"} | packages
    expected = next(p for p in packages if re.search(packages[p], script))
    assert [p for p in packages if uses(script, p)] == [expected]
    nine = [s for s in PYTORCH_SCRIPTS if not s.startswith("further/")]
    assert len(nine) == 7


def test_pytorch_warns_without_numpy_and_trains_all_the_same(tmp_path) -> None:
    script = "nn/two_layer_net_nn.py"
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('numpy')")
    code, stdout, stderr = make_outputs.run(script, PYTHONPATH=str(tmp_path))
    assert "UserWarning: Failed to initialize NumPy" in stderr
    assert code == 0 and stdout == own_processes(script)[0][1]


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_device_is_the_accelerator_if_there_is_one(script, monkeypatch):
    source, meta = (ROOT / script).read_text("utf-8"), torch.device("meta")
    assert source.count(CHOICE) == 1 and source.count("device = ") == 2
    random = [line for line in source.splitlines() if "torch.randn(" in line]
    assert random and all("device=device" in line for line in random)
    accelerator = torch.accelerator
    monkeypatch.setattr(accelerator, "is_available", lambda: True)
    monkeypatch.setattr(accelerator, "current_accelerator", lambda: meta)
    for code, device in ((CHOICE, meta), (CHOICE.split("if")[0], "cpu")):
        names = {"torch": torch}
        exec(code, names)
        assert names["device"] == torch.device(device)


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_tensors_live_on_cuda(script: str, cuda: str) -> None:
    result = run(script, device=cuda)
    names = result.names
    model = names.get("model")
    parameters = model.parameters() if model else [names["w1"], names["w2"]]
    results = [names["x"], names["y"], names["loss"]]
    for tensor in [*results, *parameters]:
        assert tensor.device.type == "cuda"
    on_cpu = run(script).losses.values()
    assert not set(result.losses.values()) & set(on_cpu)
    assert list(result.losses) == STEPS
    assert result.fall >= needed_fall(script)
