"""Run the tutorial's scripts as they are, and hand back what they leave."""

import contextlib
import difflib
import functools
import io
import linecache
import logging
import random
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import make_outputs
from make_outputs import ROOT
from scripts import BY_PATH, STEP_COUNT, STEPS, needs

LOSS = re.compile(r"step +(?P<step>\d+)  loss (?P<loss>\S+)")
DEPTH = re.compile(r"step +(?P<step>\d+) .*  depth (?P<depth>\d)")


@dataclass
class Run:
    """What one run of a script printed, and the names that it left.

    Attributes:
        lines: the printed lines.
        names: the script's global names after the run, alive.
        initial: weight and bias of each Linear as it was made, as arrays.
        draws: what each call of random.randint returned, in order.
        stderr: of a changed script, the last line of each warning and error.
    """

    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    initial: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)

    @property
    def losses(self) -> dict[int, float]:
        """The printed losses, by step."""
        found = filter(None, map(LOSS.match, self.lines))
        return {int(m["step"]): float(m["loss"]) for m in found}

    @property
    def depths(self) -> dict[int, int]:
        """The printed depths, by step."""
        found = filter(None, map(DEPTH.match, self.lines))
        return {int(m["step"]): int(m["depth"]) for m in found}

    @property
    def fall(self) -> float:
        """First loss over last, or over smallest where the depth changes."""
        losses = list(self.losses.values())
        return losses[0] / (min(losses) if self.depths else losses[-1])


def check_trains(script: str, result: Run) -> None:
    """Check that the loss is printed every 50 steps, and that it falls."""
    losses = result.losses
    steps = list(losses)
    assert steps == STEPS, (
        f"{script} prints the loss of the steps {steps}, not of {STEPS}; "
        f"run: python {script}"
    )
    assert np.isfinite(list(losses.values())).all(), (
        f"{script} prints {losses}; run: python {script}"
    )
    least = BY_PATH[script].fall
    assert result.fall >= least, (
        f"{script}: the loss falls to 1 / {result.fall:.3g}, and "
        f"tests/scripts.py says at least 1 / {least:.3g}; "
        f"run: python {script}"
    )


def captured(name: str) -> Run:
    """Return what outputs/ keeps of a script or a fault, as a run."""
    path = make_outputs.capture_path(name)
    assert path.exists(), (
        f"{path.relative_to(ROOT)} is missing; run: "
        f"python tools/make_outputs.py {name}"
    )
    lines = path.read_text("utf-8").splitlines()
    stderr = [line for line in lines if make_outputs.NOTED.match(line)]
    return Run([line for line in lines if line not in stderr], stderr=stderr)


# What another machine may round differently.
ROUNDED = re.compile(r"(loss|held-out|accuracy) ([-+.\de]+|nan|inf)")


def without_numbers(lines: list[str]) -> list[str]:
    """Return printed lines without what may be rounded differently."""
    return [ROUNDED.sub(r"\1", line) for line in lines]


def numbers_of(line: str) -> list[float]:
    """Return what may be rounded differently in a printed line."""
    return [float(number) for _, number in ROUNDED.findall(line)]


def tolerance(line: str) -> float:
    """Return by what part another machine may move the numbers of a line."""
    step = LOSS.match(line)
    if step and int(step["step"]) in STEPS[:2]:
        return 1e-3
    # A second thread, or a processor without wide instructions, moved the last
    # losses of the scripts by up to 2 %, of faults/no_momentum.diff by 7 %.
    return 0.2


def check_same(name: str, printed: Run, shown: Run) -> None:
    """Check that two runs print the same, up to another machine's rounding."""
    capture = f"outputs/{Path(name).with_suffix('.txt').as_posix()}"
    mend = (
        f"if the new output is right, run: python tools/make_outputs.py {name}"
        ", then: make readme"
    )
    differs = list(
        difflib.unified_diff(
            without_numbers(shown.lines) + shown.stderr,
            without_numbers(printed.lines) + printed.stderr,
            capture,
            f"what {name} prints",
            lineterm="",
        )
    )
    assert not differs, "\n".join([*differs, mend])
    for new, old in zip(printed.lines, shown.lines, strict=True):
        rel = tolerance(old)
        near = pytest.approx(numbers_of(old), rel=rel, nan_ok=True)
        assert numbers_of(new) == near, (
            f"{capture} has the line {old!r}, and {name} prints {new!r}; "
            f"{mend}"
        )


def import_tensorflow() -> Any:
    """Return TensorFlow, kept off the GPU; skip where it is missing."""
    tf = pytest.importorskip("tensorflow")
    tf.config.set_visible_devices([], "GPU")
    return tf


def source_of(name: str) -> tuple[str, str]:
    """Return the path of a script, or of a fault's script, and its source."""
    if not name.endswith(".diff"):
        return name, (ROOT / name).read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        copy = make_outputs.put_in(name, Path(folder))
        return make_outputs.changed_script(name), copy.read_text("utf-8")


def change(name: str, source: str, changes: dict[str, str]) -> str:
    """Return a script's source with each key replaced by its value."""
    for old, new in changes.items():
        count = source.count(old)
        assert count == 1, (
            f"{old!r} stands {count} times in {name}; correct the changes "
            "that this test makes to the script"
        )
        source = source.replace(old, new)
    return source


def feed(patch: pytest.MonkeyPatch, numbers: dict) -> None:
    """Make numpy and PyTorch draw the given numbers, each by its shape."""

    def randn(*shape, **options):
        dtype = torch.get_default_dtype()
        return torch.tensor(numbers[shape], dtype=dtype, **options)

    generator = SimpleNamespace(standard_normal=lambda s: numbers[s].copy())
    patch.setattr(np.random, "default_rng", lambda seed: generator)
    patch.setattr(torch, "randn", randn)


def record(patch: pytest.MonkeyPatch, result: Run) -> None:
    """Make Linear and random.randint note what they make."""
    reset, randint = torch.nn.Linear.reset_parameters, random.randint

    def recorded_reset(layer):
        reset(layer)
        parts = [p.detach().cpu().numpy().copy() for p in layer.parameters()]
        result.initial.append(tuple(parts))

    def recorded_randint(low, high):
        result.draws.append(randint(low, high))
        return result.draws[-1]

    patch.setattr(torch.nn.Linear, "reset_parameters", recorded_reset)
    patch.setattr(random, "randint", recorded_randint)


def set_up_tensorflow(
    patch: pytest.MonkeyPatch, dtype: str, numbers: dict | None
) -> None:
    """Make TensorFlow and Keras compute in a dtype, with given numbers."""
    tf = import_tensorflow()
    for kind in ("normal", "uniform"):
        draw = functools.partial(getattr(tf.random, kind), dtype=dtype)
        patch.setattr(tf.random, kind, draw)
    if numbers:
        drawn = {s: tf.constant(n, dtype) for s, n in numbers.items()}
        patch.setattr(tf.random, "normal", drawn.get)
    tf.keras.config.set_floatx(dtype)
    tf.keras.config.set_dtype_policy(dtype)


@contextlib.contextmanager
def as_python_warns() -> Iterator[None]:
    """Show the warnings that a python process shows, and no others."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for hidden in (DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", hidden)
        warnings.filterwarnings("default", module="__main__")
        yield


@contextlib.contextmanager
def catch(result: Run, errors: type[Exception] | tuple) -> Iterator[None]:
    """Note warnings, and errors of these types, as a process writes them."""
    stderr, log = io.StringIO(), logging.getLogger("tensorflow")
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    log.addHandler(handler)
    with as_python_warns():
        warnings.showwarning = lambda message, category, *_: stderr.write(
            f"{category.__name__}: {message}\n"
        )
        try:
            yield
        except errors as error:
            stderr.writelines(traceback.format_exception_only(error))
        finally:
            log.removeHandler(handler)
    result.stderr = make_outputs.seen("", stderr.getvalue()).splitlines()


def execute(source: str, path: str, names: dict[str, Any]) -> None:
    """Run source code as the script at a path."""
    # TensorFlow reads the source of a tf.function there.
    lines = source.splitlines(keepends=True)
    linecache.cache[path] = len(source), None, lines, path
    exec(compile(source, path, "exec"), names)


def run(
    name: str,
    *,
    numbers: dict | None = None,
    dtype: str = "float32",
    seed: int = 0,
    device: str = "cpu",
    steps: int = STEP_COUNT,
    every_step: bool = False,
    changes: dict[str, str] | None = None,
    arguments: Sequence[str] = (),
    may_fail: bool = False,
) -> Run:
    """Run a script in this process, its source whole.

    Warnings of a changed script are noted. An error that it raises is noted
    if it is a fault or may fail, and raised otherwise.

    Args:
        name: the path of a script, or of a fault, to be put into its script.
        numbers: what it draws in place of random numbers, by shape.
        dtype: the default of PyTorch, TensorFlow and Keras.
        seed: takes the place of the script's own.
        device: where PyTorch's Tensors are to live: "cpu", "cuda" or "meta".
        steps: how many steps it takes.
        every_step: whether it prints the loss of each step.
        changes: parts of the source, and what to put in the place of each.
        arguments: of its command line.
        may_fail: whether an error is noted.
    """
    script, source = source_of(name)
    if device == "cuda" and not needs(script, "torch"):
        pytest.skip("CUDA is tested with PyTorch alone")
    changes = dict(changes or {})
    if steps != STEP_COUNT:
        changes[f"range({STEP_COUNT})"] = f"range({steps})"
    if every_step:
        changes[f"if t % 50 == 0 or t == {STEPS[-1]}:"] = "if True:"
    source = change(name, source, changes)
    source = re.sub(r"(seed|default_rng)\(0\)", rf"\1({seed})", source)

    result = Run(names={"__name__": "__main__"})
    path, catcher = str(ROOT / script), contextlib.nullcontext()
    if name != script or changes:
        errors = Exception if name != script or may_fail else ()
        path, catcher = f"{path} changed", catch(result, errors)
    accelerator = None if device == "cpu" else torch.device(device)
    with pytest.MonkeyPatch.context() as patch:
        devices = torch.accelerator
        patch.setattr(devices, "is_available", lambda: device != "cpu")
        patch.setattr(devices, "current_accelerator", lambda **_: accelerator)
        patch.setattr(sys, "argv", [script, *arguments])
        record(patch, result)
        if numbers:
            feed(patch, numbers)
        if needs(script, "tensorflow") or needs(script, "keras"):
            set_up_tensorflow(patch, dtype, numbers)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            with contextlib.redirect_stdout(io.StringIO()) as stdout, catcher:
                execute(source, path, result.names)
        finally:
            torch.set_default_dtype(torch.float32)
    result.lines = stdout.getvalue().splitlines()
    return result


@functools.cache
def shared_run(script: str) -> Run:
    """Return one run of a script as it is, for all tests: read it only."""
    return run(script)


def graph_functions(result: torch.Tensor) -> list[str]:
    """Return the names of the functions of the graph behind a result."""
    found = [result.grad_fn]
    for function in found:
        for each, _ in function.next_functions:
            if each and each not in found:
                found.append(each)
    return [type(f).__name__.removesuffix("Backward0") for f in found]


def geometric_mean(values) -> float:
    """Return the geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(list(values)))))


def to_array(value) -> np.ndarray:
    """Return an array, or what holds one, as an array."""
    if type(value).__module__ == "__main__":  # Made by own_autograd.py.
        value = value.value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return np.asarray(value)
