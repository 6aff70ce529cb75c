"""further/costs.py: its ways do the same work, and what its table shows."""

import inspect
import os
import re
import statistics
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils import benchmark
from torch.utils._python_dispatch import TorchDispatchMode

from harness import Run, run, source_of
from make_outputs import COSTS, capture_path
from pages import says
from reference import Adam, GradientDescent, train

FLOORS = ["numpy products", "torch products"]
TORCH_WAYS = ["tensor", "autograd", "nn", "SGD", "Adam", "nn compiled"]
ROWS = [FLOORS[0], "numpy", FLOORS[1], *TORCH_WAYS]
WIDTHS = [128, 1024, 4096]
ROW = re.compile(r"width +(\d+)  (\w+(?: \w+)?) +([\d.]+) ms   ratio ([\d.]+)")
# Small nets, timed for a moment. What is compiled goes to a backend that runs
# the operations as they are: that takes no compiler.
QUICK = {
    "(128, 1024, 4096)": "(64, 128)",
    "min_run_time=0.1": "min_run_time=1e-4",
    "if compiles:": "if True:",
    "dynamic=False": "dynamic=False, backend='aot_eager'",
}


def table(lines: list[str]) -> dict[tuple[int, str], tuple[float, float]]:
    """Return time and ratio by width and way, from printed lines."""
    rows = filter(None, map(ROW.fullmatch, lines))
    return {
        (int(width), way): (float(time), float(ratio))
        for width, way, time, ratio in (row.groups() for row in rows)
    }


@pytest.fixture(scope="module")
def script(device: str) -> Run:
    """A quick run of the script, on the CPU, then on CUDA if there is one."""
    result = run(COSTS, device=device, changes=QUICK)
    assert not result.stderr
    return result


@pytest.fixture(scope="module")
def shown() -> dict[tuple[int, str], tuple[float, float]]:
    """The table that the page shows."""
    return table(capture_path(COSTS).read_text("utf-8").splitlines())


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# What the script does.


def test_table_has_a_row_for_each_way_at_each_width(script: Run) -> None:
    expected = [(width, way) for width in (64, 128) for way in ROWS]
    assert list(table(script.lines)) == expected


def test_ratio_of_a_floor_is_one(script: Run) -> None:
    for (_, way), (_, ratio) in table(script.lines).items():
        if way in FLOORS:
            assert ratio == 1.0


def test_ratio_does_not_change_when_the_machine_slows_down(
    monkeypatch,
) -> None:
    calls = []

    class SlowingTimer:
        """Shows twice as much in each round as in the round before."""

        def __init__(self, stmt: str, globals: dict) -> None:
            calls.append(stmt)

        def blocked_autorange(self, **options) -> SimpleNamespace:
            # The first call stands before the table.
            rounds = (len(calls) - 2) // len(ROWS)
            return SimpleNamespace(median=2.0**rounds)

    monkeypatch.setattr(benchmark, "Timer", SlowingTimer)
    result = run(COSTS, changes=QUICK)
    assert not result.stderr
    ratios = [ratio for _, ratio in table(result.lines).values()]
    assert ratios == [1.0] * 2 * len(ROWS)


def weights(steps: dict, way: str) -> list[np.ndarray]:
    """Return w1 and w2 of a way, as arrays of shape (out, in)."""
    if way == "numpy":
        return inspect.getclosurevars(steps[way]).nonlocals["arrays"][2:]
    params = inspect.getclosurevars(steps["nn"]).nonlocals["params"]
    return [param.detach().cpu().numpy() for param in params]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("way", ["numpy", *TORCH_WAYS])
def test_every_way_makes_the_same_update(script: Run, way: str) -> None:
    script.names["learning_rate"] = rate = 1e-4
    steps = script.names["ways"](64)
    names = inspect.getclosurevars(steps["nn"]).nonlocals
    x, y = (names[name].cpu().numpy() for name in "xy")
    layers = [(weight.T.copy(), None) for weight in weights(steps, way)]
    # Two steps, so that gradients left from the first one would show.
    steps[way]()
    steps[way]()
    update = Adam(rate) if way == "Adam" else GradientDescent(rate)
    _, expected = train(x, y, layers, [[0, 1]] * 2, update)
    found = weights(steps, way)
    for weight, (of_oracle, _) in zip(found, expected, strict=True):
        np.testing.assert_allclose(weight.T, of_oracle, rtol=1e-7, atol=1e-10)


class Products(TorchDispatchMode):
    """Records the shapes and the strides of what is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.mm.default:
            self.seen.append([(m.shape, m.stride()) for m in args])
        return func(*args, **(kwargs or {}))


def products_of(step) -> list:
    """Return the products of a step, the second time that it is called."""
    step()
    with Products() as products:
        step()
    return sorted(products.seen)


def test_floor_has_five_products(script: Run) -> None:
    assert len(products_of(script.names["ways"](64)["torch products"])) == 5


@pytest.mark.parametrize("way", TORCH_WAYS)
def test_every_way_has_the_products_of_its_floor(
    script: Run, way: str
) -> None:
    steps = script.names["ways"](64)
    assert products_of(steps[way]) == products_of(steps["torch products"])


def test_one_thread_computes() -> None:
    imports = source_of(COSTS)[1].partition("loss_fn =")[0]
    code = f"{imports}\nprint(torch.get_num_threads())"
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    printed = subprocess.check_output([sys.executable, "-c", code], env=env)
    assert int(printed) == 1


# What the page says of the captured table.


def test_captured_table_is_whole(shown) -> None:
    assert list(shown) == [(width, way) for width in WIDTHS for way in ROWS]


def test_second_call_takes_less_than_the_first() -> None:
    lines = capture_path(COSTS).read_text("utf-8").splitlines()
    first, second, repeated = (float(line.split()[-2]) for line in lines[:3])
    says("does work that is done only once")
    assert first > 2 * second
    assert first > 2 * repeated


def test_overhead_of_adam_is_a_smaller_part_of_a_wide_net(shown) -> None:
    wide, narrow = says(
        "relative to the floor, its overhead at width {} is less than half "
        "of what it is at width {}"
    )
    _, ratio_of_wide = shown[wide, "Adam"]
    _, ratio_of_narrow = shown[narrow, "Adam"]
    assert ratio_of_wide - 1 < 0.5 * (ratio_of_narrow - 1)


def test_compiled_step_takes_longer_at_the_smallest_width(shown) -> None:
    says(
        "at the smallest width, the compiled step takes longer than the same "
        "step not compiled"
    )
    compiled, _ = shown[WIDTHS[0], "nn compiled"]
    not_compiled, _ = shown[WIDTHS[0], "nn"]
    assert compiled > not_compiled


def test_numpy_has_the_faster_products_here(shown) -> None:
    says("numpy's products are faster than PyTorch's")
    ratios = [
        shown[width, FLOORS[0]][0] / shown[width, FLOORS[1]][0]
        for width in WIDTHS
    ]
    assert statistics.median(ratios) < 1
