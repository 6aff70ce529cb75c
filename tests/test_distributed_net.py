"""Many processes train one net as one process does."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from harness import ROOT, Run, run
from test_outputs import captured, check_same

SCRIPT = "further/distributed_net.py"
SOURCE = (ROOT / SCRIPT).read_text("utf-8")
# Runs a script in float64 and keeps its whole losses, share and parameters.
# It leaves by _exit: DistributedDataParallel was seen to abort at exit.
KEEP = """
import os, runpy, sys, torch
torch.set_default_dtype(torch.float64)
torch.accelerator.is_available = lambda: False
losses, all_reduce = [], torch.distributed.all_reduce
def note(tensor):
    all_reduce(tensor)
    if tensor.ndim == 0:
        losses.append(tensor.item())
torch.distributed.all_reduce = note
names = runpy.run_path(sys.argv[1], run_name="__main__")
assert not torch.distributed.is_initialized()
kept = losses, len(names["x"]), [*names["model"].state_dict().values()]
torch.save(kept, sys.argv[2] + str(names["rank"]))
os._exit(0)
"""
TORCHRUN = "-m torch.distributed.run --local-addr localhost".split()
TWO = [*TORCHRUN, "--nproc-per-node", "2"]


def start(*arguments: str) -> subprocess.Popen:
    """Start Python, its processes to meet on this machine alone."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    hidden = {"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": loopback}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, **hidden, "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finish(*started: subprocess.Popen) -> list[tuple[str, str]]:
    """Return stdout and stderr of processes that must all exit with 0."""
    try:
        outputs = [process.communicate(timeout=100) for process in started]
    finally:
        for process in started:
            process.terminate()  # torchrun takes its processes with it.
    assert not any(process.returncode for process in started), outputs
    return outputs


def kept(folder, source: str, *commands: list[str]) -> list[tuple]:
    """Run a source by each command at once; return what each rank kept."""
    files = [str(folder / name) for name in ("keep.py", "script.py", "rank")]
    (folder / "keep.py").write_text(KEEP)
    (folder / "script.py").write_text(source)
    finish(*(start(*command, *files) for command in commands))
    return [torch.load(path) for path in sorted(folder.glob("rank?"))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple:
    """What one process keeps, with all examples."""
    (one,) = kept(tmp_path_factory.mktemp("alone"), SOURCE, [])
    return one


def check_agree(ranks: list[tuple], alone: tuple) -> None:
    """Check each rank's share, and its losses and parameters, with one's."""
    for losses, share, parameters in ranks:
        assert share * len(ranks) == alone[1] == 64
        np.testing.assert_allclose(losses, alone[0], rtol=1e-9)
        for parameter, expected in zip(parameters, alone[2], strict=True):
            np.testing.assert_allclose(parameter, expected, atol=1e-9)
        assert all(map(torch.equal, parameters, ranks[0][2]))


def test_two_and_four_processes_agree_with_one(alone, tmp_path) -> None:
    check_agree(kept(tmp_path, SOURCE, TWO), alone)
    # The four are on two machines, each played by a torchrun of this one.
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    meet = f"--nnodes 2 --rdzv-backend c10d --rdzv-endpoint localhost:{port}"
    machine = [*TWO, *meet.split()]
    ranks = kept(tmp_path, SOURCE, machine, machine)
    assert len(ranks) == 4
    check_agree(ranks, alone)


def test_ddp_takes_the_mean_and_copies_the_weights(alone, tmp_path) -> None:
    wrap = "model = nn.parallel.DistributedDataParallel(model)\n"
    changes = {
        "model = nn.Seq": "torch.manual_seed(rank)\nmodel = nn.Seq",
        "        dist.all_reduce(param.grad)": "        pass",
        "learning_rate = 1e-4\n": f"learning_rate = 1e-4 * world_size\n{wrap}",
    }
    source = SOURCE
    for old, new in changes.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    (tmp_path / "one").mkdir()
    (one,) = kept(tmp_path / "one", source.replace(wrap, ""), [])
    assert one[0] != alone[0]  # Seeded anew, it has other weights.
    check_agree(kept(tmp_path, source, TWO), one)


def test_only_rank_0_prints() -> None:
    ((stdout, _),) = finish(start(*TWO, str(ROOT / SCRIPT)))
    lines, shown = stdout.splitlines(), captured(SCRIPT)
    check_same(Run(lines), shown)
    assert lines != shown.lines == run("nn/two_layer_net_nn.py").lines
