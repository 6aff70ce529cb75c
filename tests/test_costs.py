"""further/costs.py: its ways do the same work, its table is whole."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import draw_figures
from harness import ROOT, Run, run
from make_outputs import COSTS, capture_path
from reference import loss_and_gradients

NUMPY = ["numpy products", "numpy"]
TORCH = ["torch products", "tensor", "autograd", "nn", "SGD", "Adam"]


def checked(lines: list[str], widths: list[int]) -> dict:
    """Return the table among printed lines; its figures must fit together."""
    rows = draw_figures.table("\n".join(lines))
    for (device, way), of_way in rows.items():
        floors = rows[device, "numpy products" if way in NUMPY else TORCH[0]]
        assert [row[0] for row in of_way] == widths
        for (_, *row), (_, _, floor, *_) in zip(of_way, floors, strict=True):
            assert np.isfinite(row).all() and row.pop(2) >= 0 < min(row)
            # The cells are rounded, a time to 0.001 ms and a ratio to 0.01.
            assert row[2] == pytest.approx(row[1] / floor, rel=0.1, abs=0.006)
    return rows


@pytest.fixture(scope="module")
def script(device) -> Run:
    """A short run of the script, on the CPU alone or on CUDA too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [COSTS, "--quick"])
        for name in ("OPENBLAS", "MKL", "VECLIB_MAXIMUM"):
            patch.setenv(f"{name}_NUM_THREADS", "1")
        return run(COSTS, device=device)


def weights(arguments) -> list[np.ndarray]:
    """Return w1 and w2 of a way, or their likes in its model."""
    found = [part for part in arguments if hasattr(part, "dtype")]
    parts = arguments[-2:]
    if isinstance(arguments[0], torch.nn.Module):
        parts = [param.T for param in arguments[0].parameters()]
    assert {str(p.dtype)[-7:] for p in (*found, *parts)} == {"float32"}
    return [torch.as_tensor(p).detach().cpu().double().numpy() for p in parts]


def test_every_way_makes_the_same_update(script, monkeypatch) -> None:
    names = script.names
    # What is compiled, without the half minute that a compiler takes.
    compiled = torch.compile(names["forward"], backend="aot_eager")
    monkeypatch.setitem(names, "compiled_forward", compiled)
    monkeypatch.setitem(names, "compiling", True)
    device = names["devices"][-1]
    ways = names["ways"](10, device)
    assert list(ways)[-4:] == ["compiled", "nn", "SGD", "Adam"]
    x, y, *initial = (p.cpu().double().numpy() for p in ways["tensor"][1])
    layers = [(weight, None) for weight in initial]
    _, gradients = loss_and_gradients(x, y, layers, [0, 1])
    assert names["learning_rate"] == 0
    for way in [way for way in ways if "products" not in way]:
        step, arguments = names["ways"](10, device)[way]
        for rate in (0, 1e-3):  # Two steps, so that old gradients show.
            monkeypatch.setitem(names, "learning_rate", rate)
            if way in ("SGD", "Adam"):
                arguments[1].param_groups[0]["lr"] = rate
            step(*arguments)
            for old, new, (gradient, _) in zip(
                initial, weights(arguments), gradients, strict=True
            ):
                # Adam's first steps are as long as the rate.
                update = np.sign(gradient) if way == "Adam" else gradient
                near = 1e-4 * rate * abs(update).max()
                np.testing.assert_allclose(old - new, rate * update, 0, near)


def test_every_way_has_the_work_of_the_five_products(script) -> None:
    for H, N, D_in in ((100, 64, 1000), (1600, 512, 2000)):
        ways = script.names["ways"](H, script.names["devices"][-1])
        for step, arguments in map(ways.get, TORCH):
            with FlopCounterMode(display=False) as counter:
                step(*arguments)
            products = 2 * N * D_in * H + 3 * N * H * 10
            assert counter.get_total_flops() == 2 * products


def test_quick_from_the_command_line() -> None:
    command = [sys.executable, "-W", "error", str(ROOT / COSTS), "--quick"]
    env = {k: v for k, v in os.environ.items() if "THREADS" not in k}
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    versions, machine, *lines = run.stdout.splitlines()
    assert torch.__version__ in versions and np.__version__ in versions
    assert machine.startswith("threads 1  cpu ")
    ways = [way for device, way in checked(lines, [10, 40]) if device == "cpu"]
    assert ways == NUMPY + TORCH


def test_captured_table_and_figure_show_what_the_page_says() -> None:
    lines = capture_path(COSTS).read_text("utf-8").splitlines()
    rows = checked(lines, [100, 1000, 4000])
    ways = {way: np.array(row).T for (_, way), row in rows.items()}
    assert {*ways} == {*NUMPY, *TORCH, "compiled"}
    small, _, large = np.array([way[4] for way in ways.values()]).T
    assert max(small) == ways["Adam"][4, 0] > 1.5
    assert ways["autograd"][4, 0] > 1.2 and max(large) < 1.25
    assert ways["tensor"][4, 1] > ways["tensor"][4, 0]
    (_, first, compiled, *_), autograd = ways["compiled"], ways["autograd"][2]
    assert first[0] > 10_000 * compiled[0] > 10_000 * autograd[0]
    assert all(compiled > 0.9 * autograd)
    assert all(ways[NUMPY[0]][2] < ways[TORCH[0]][2])
