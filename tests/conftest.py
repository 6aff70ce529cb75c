"""The --device option, and one thread for everything that computes."""

import contextlib
import os

from make_outputs import ONE_THREAD

# Before numpy, PyTorch or TensorFlow is imported: two threads can be far
# slower than one for products this small.
os.environ.update(ONE_THREAD)

import numpy as np
import pytest
import torch

# PyTorch for CUDA brings Triton 3.7 and loads it at the first optimizer step.
# Loaded after TensorFlow 2.21, it ends the process with a segmentation fault.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=["cpu", "cuda"],
        help="cpu: run no CUDA test; cuda: fail where there is no CUDA",
    )


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--device")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(
            "--device cuda: PyTorch finds no CUDA device here; "
            "check nvidia-smi, or leave the option out to test on the CPU"
        )


@pytest.fixture(scope="session")
def cuda(request: pytest.FixtureRequest) -> str:
    """The device "cuda"; skips the test where there is none."""
    left_out = request.config.getoption("--device") == "cpu"
    if left_out or not torch.cuda.is_available():
        pytest.skip("no CUDA device here, or left out by --device cpu")
    return "cuda"


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn: "cpu", then "cuda" where there is one."""
    return "cpu" if request.param == "cpu" else request.getfixturevalue("cuda")


@pytest.fixture(scope="session")
def numbers() -> dict:
    """Standard normal numbers for x, y, w1 and w2, by their shapes."""
    rng = np.random.default_rng(2026)
    shapes = (64, 1000), (64, 10), (1000, 100), (100, 10)
    return {shape: rng.standard_normal(shape) for shape in shapes}
