"""Every script, run the way a learner runs it."""

import re
import subprocess
import sys

import pytest
import torch

import make_outputs
from harness import PYTORCH_SCRIPTS, check_trains, own_processes, run, uses
from make_outputs import ROOT, SCRIPTS

CHOICE = """\
device = torch.device("cpu")
if torch.accelerator.is_available():
    device = torch.accelerator.current_accelerator()
"""
# absl's log lines, which TensorFlow writes on import whatever is set.
TENSORFLOW_LOG = re.compile(
    r"[IWE]\d{4} [\d:.]+ .*|\d{4}-\d\d-\d\d [\d:.]+: [IWE] .*"
    r"|WARNING: All log messages before absl::InitializeLog.*"
    r"|To enable the following instructions: .*"
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_says_nothing_on_stderr_and_prints_the_same_again(script) -> None:
    assert f"\n    python {script}\n" in (ROOT / script).read_text("utf-8")
    runs = own_processes(script)
    for code, _, stderr in runs:
        lines = stderr.splitlines()
        if uses(script, "tensorflow", "keras"):
            lines = [s for s in lines if not TENSORFLOW_LOG.fullmatch(s)]
        assert (code, lines) == (0, [])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_seed_reaches_the_threshold(script: str) -> None:
    # The script's own, 0, and others: fewer where a graph is built anew.
    few = script.startswith("further/") or uses(script, "tensorflow")
    runs = [run(script, seed=seed) for seed in range(6 if few else 11)]
    for result in runs:
        check_trains(script, result)
    # The seeds reached the script.
    assert len({result.losses[0] for result in runs}) == len(runs)


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
    source = (ROOT / script).read_text("utf-8")
    imported = re.findall(r"^ *(?:import|from) (\w+)", source, re.MULTILINE)
    parts = {"numpy": "_numpy|own_", "tensorflow": "/tf_", "keras": "keras"}
    expected = [p for p in parts if re.search(parts[p], script)] or ["torch"]
    assert set(imported) - sys.stdlib_module_names == set(expected)
    assert sum(not s.startswith("further/") for s in PYTORCH_SCRIPTS) == 7


def test_pytorch_warns_without_numpy_and_trains_all_the_same(tmp_path) -> None:
    script = "nn/two_layer_net_nn.py"
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('numpy')")
    code, stdout, stderr = make_outputs.run(script, PYTHONPATH=str(tmp_path))
    assert "UserWarning: Failed to initialize NumPy" in stderr
    assert code == 0 and stdout == own_processes(script)[0][1]


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_device_is_the_accelerator_if_there_is_one(script, monkeypatch):
    source, meta = (ROOT / script).read_text("utf-8"), torch.device("meta")
    source = source.replace("if dist.is_nccl_available() and ", "if ")
    assert source.count(CHOICE) == 1 and source.count("device = ") == 2
    drawn = re.findall(r"torch\.randn\(.*", source)
    assert drawn and all("device=device" in line for line in drawn)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: meta)
    for code, device in ((CHOICE, meta), (CHOICE.split("if")[0], "cpu")):
        names = {"torch": torch}
        exec(code, names)
        assert names["device"] == torch.device(device)


@pytest.mark.parametrize("script", PYTORCH_SCRIPTS)
def test_tensors_live_on_cuda(script: str, cuda: str) -> None:
    result = run(script, device=cuda)
    # A loss that is there was computed there, from weights that are there.
    assert all(result.names[name].is_cuda for name in ("x", "y", "loss"))
    assert set(result.losses.values()).isdisjoint(run(script).losses.values())
    check_trains(script, result)
