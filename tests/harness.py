"""Run the tutorial's scripts as they are, and hand back what they leave."""

import contextlib
import functools
import io
import linecache
import logging
import random
import re
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import make_outputs
from make_outputs import ROOT, SCRIPTS

STEPS = [*range(0, 500, 50), 499]
# A change that makes a script print each loss.
EVERY_STEP = {"if t % 50 == 0 or t == 499:": "if True:"}
LINE = re.compile(
    r"step (?=.{3}  loss) *(?P<step>\d+)  "
    r"loss (?P<loss>\d\.\d{6}e[+-]\d\d+|nan|inf)"
    r"(?:  depth (?P<depth>[1-4])|  held-out \d\.\d{6}e-\d\d)?"
)


def graph_functions(result: torch.Tensor) -> list[str]:
    """Return the names of the functions of the graph behind a result."""
    found = [result.grad_fn]
    for function in found:
        for each, _ in function.next_functions:
            if each and each not in found:
                found.append(each)
    return [type(f).__name__.removesuffix("Backward0") for f in found]


def uses(script: str, *packages: str) -> bool:
    """Return whether a script imports one of some packages."""
    source = (ROOT / script).read_text("utf-8")
    return any(f"\nimport {package}" in source for package in packages)


PYTORCH_SCRIPTS = [script for script in SCRIPTS if uses(script, "torch")]


def needed_fall(script: str) -> float:
    """Return how many times smaller than the first loss the end must be."""
    if script.endswith("dynamic_net.py"):
        return 50
    if script == "further/learning_net.py":
        return 20
    return 1e9 if "w1" in (ROOT / script).read_text("utf-8") else 1e5


@dataclass
class Run:
    """What one run of a script printed, and the names that it left.

    Attributes:
        lines: the printed lines.
        names: the script's global names after the run, alive.
        initial: weight and bias of each Linear as it was made, as arrays.
        draws: what each call of random.randint returned, in order.
        noted: of a changed script, the last line of each warning and error.
    """

    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    initial: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def printed(self, name: str, kind: type) -> dict[int, Any]:
        """Return what stands under a name in the printed lines, by step."""
        found = filter(None, map(LINE.fullmatch, self.lines))
        return {int(m["step"]): kind(m[name]) for m in found if m[name]}

    losses = property(lambda self: self.printed("loss", float))
    depths = property(lambda self: self.printed("depth", int))

    @property
    def fall(self) -> float:
        """First loss over last, or over smallest where the depth changes."""
        losses = list(self.losses.values())
        return losses[0] / (min(losses) if self.depths else losses[-1])


def check_trains(script: str, result: Run) -> None:
    """Check that the loss is printed every 50 steps, and that it falls."""
    assert list(result.losses) == STEPS
    assert np.isfinite([*result.losses.values()]).all()
    assert result.fall >= needed_fall(script)


def import_tensorflow() -> Any:
    """Return TensorFlow, kept off the GPU; skip where it is missing."""
    tf = pytest.importorskip("tensorflow")
    tf.config.set_visible_devices([], "GPU")
    return tf


@functools.cache
def own_processes(script: str) -> list[tuple[int, str, str]]:
    """Run a script twice at once; return exit code, stdout, stderr of each."""
    # Warnings are errors the second time, TensorFlow's own left out.
    options = [], ["-W", "error"]
    if uses(script, "tensorflow", "keras"):
        import_tensorflow()
        options = [], []
    with ThreadPoolExecutor() as pool:
        return [*pool.map(lambda o: make_outputs.run(script, *o), options)]


def changed(name: str, changes: dict[str, str]) -> tuple[str, str]:
    """Return a script, or that of a fault, and its source with changes."""
    script, source = name, (ROOT / name).read_text("utf-8")
    if name.endswith(".diff"):
        script, source = make_outputs.faulty(name)
    for old, new in changes.items():
        assert source.count(old) == 1, f"{old!r} is not once in {name}"
        source = source.replace(old, new)
    return script, source


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


@contextlib.contextmanager
def catch(result: Run):
    """Let nothing out that a process would write to stderr, but note it."""
    stderr, log = io.StringIO(), logging.getLogger("tensorflow")
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    log.addHandler(handler)
    with warnings.catch_warnings(action="default"):
        warnings.showwarning = lambda message, category, *_: stderr.write(
            f"{category.__name__}: {message}\n"
        )
        try:
            yield
        except Exception as error:
            stderr.writelines(traceback.format_exception_only(error))
        finally:
            log.removeHandler(handler)
    result.noted = make_outputs.seen("", stderr.getvalue()).splitlines()


def run(
    name: str,
    *,
    numbers: dict | None = None,
    dtype: str = "float32",
    seed: int = 0,
    device: str = "cpu",
    changes: dict[str, str] | None = None,
) -> Run:
    """Run a script in this process, its source whole.

    Args:
        name: the path of a script, or of a fault, to be made in its script.
        numbers: what it draws in place of random numbers, by shape.
        dtype: the default of PyTorch, TensorFlow and Keras.
        seed: takes the place of the script's own.
        device: where PyTorch's Tensors are to live, "cpu" or "cuda".
        changes: parts of the source, and what to put in the place of each.
    """
    script, source = changed(name, changes or {})
    if device == "cuda" and not uses(script, "torch"):
        pytest.skip("CUDA is tested with PyTorch alone")
    source = re.sub(r"(seed|default_rng)\(0\)", rf"\1({seed})", source)
    result = Run(names={"__name__": "__main__"})
    path, catcher = str(ROOT / script), contextlib.nullcontext()
    if name != script or changes:
        catcher = catch(result)
        path += " changed"
        # TensorFlow reads the source of a tf.function there.
        lines = source.splitlines(keepends=True)
        linecache.cache[path] = len(source), None, lines, path
    code = compile(source, path, "exec")
    accelerator = None if device == "cpu" else torch.device(device)
    with pytest.MonkeyPatch.context() as patch:
        devices = torch.accelerator
        patch.setattr(devices, "is_available", lambda: device != "cpu")
        patch.setattr(devices, "current_accelerator", lambda **_: accelerator)
        record(patch, result)
        if numbers:
            feed(patch, numbers)
        if uses(script, "tensorflow", "keras"):
            tf = import_tensorflow()
            for kind in ("normal", "uniform"):
                draw = functools.partial(getattr(tf.random, kind), dtype=dtype)
                patch.setattr(tf.random, kind, draw)
            if numbers:
                drawn = {s: tf.constant(n, dtype) for s, n in numbers.items()}
                patch.setattr(tf.random, "normal", drawn.get)
            tf.keras.config.set_floatx(dtype)
            tf.keras.config.set_dtype_policy(dtype)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            with contextlib.redirect_stdout(io.StringIO()) as stdout, catcher:
                exec(code, result.names)
        finally:
            torch.set_default_dtype(torch.float32)
    result.lines = stdout.getvalue().splitlines()
    return result
