"""Many processes train one net as one process does."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from harness import ROOT, Run, changed, run
from make_outputs import ENVIRONMENT
from test_outputs import captured, check_same

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="torchrun may lack libuv on Windows"
)
SCRIPT = "further/distributed_net.py"
# To run it in float64 and keep its losses and final parameters. It leaves by
# _exit: DistributedDataParallel was seen to abort at exit.
HEAD = """
import os, sys, torch
torch.set_default_dtype(torch.float64)
torch.accelerator.is_available = lambda: False
losses = []
"""
NOTE = {"if rank == 0:": "losses.append(whole_loss)\n        if rank == 0:"}
TAIL = """
assert len(x) * world_size == N and not dist.is_initialized()
kept = [torch.stack(losses), *model.state_dict().values()]
torch.save(kept, sys.argv[1] + str(rank))
os._exit(0)
"""
TWO = "-m torch.distributed.run --local-addr localhost --nproc-per-node 2"
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}
ENV = os.environ | ENVIRONMENT | LOOPBACK


def kept(folder, changes: dict, *commands: str) -> list[list[torch.Tensor]]:
    """Run the script by each command at once; return what each rank kept."""
    _, source = changed(SCRIPT, NOTE | changes)
    script, ranks = folder / "script.py", folder / "rank"
    script.write_text(HEAD + source + TAIL, "utf-8")
    started = []
    for command in commands:
        line = [sys.executable, *command.split(), str(script), str(ranks)]
        started.append(subprocess.Popen(line, env=ENV))
    try:
        codes = [process.wait(timeout=100) for process in started]
    finally:
        for process in started:
            process.terminate()  # torchrun takes its processes with it.
    assert not any(codes)
    return [torch.load(path) for path in sorted(folder.glob("rank?"))]


def check_agree(ranks: list, count: int, alone: list[torch.Tensor]) -> None:
    """Check what a number of processes kept with what one process did."""
    assert len(ranks) == count
    for rank in ranks:
        torch.testing.assert_close(rank, alone, rtol=1e-9, atol=1e-9)
        assert all(map(torch.equal, rank, ranks[0]))


def test_two_and_four_processes_agree_with_one(tmp_path) -> None:
    (alone,) = kept(tmp_path, {}, "")
    check_agree(kept(tmp_path, {}, TWO), 2, alone)
    # The four are on two machines, each played by a torchrun of this one.
    with socket.create_server(("localhost", 0)) as server:
        host = f"localhost:{server.getsockname()[1]}"
    command = f"{TWO} --nnodes 2 --rdzv-backend c10d --rdzv-endpoint {host}"
    check_agree(kept(tmp_path, {}, command, command), 4, alone)


def test_ddp_takes_the_mean_and_copies_the_weights(tmp_path) -> None:
    seeded = {"model = nn.S": "torch.manual_seed(rank + 1)\nmodel = nn.S"}
    wrap = "model = nn.parallel.DistributedDataParallel(model)"
    ddp = {
        "        dist.all_reduce(param.grad)": "        pass",
        "learning_rate = 1e-4": f"learning_rate = 1e-4 * world_size\n{wrap}",
    }
    (alone,) = kept(tmp_path, seeded, "")
    check_agree(kept(tmp_path, seeded | ddp, TWO), 2, alone)


def test_only_rank_0_prints() -> None:
    command = [sys.executable, *TWO.split(), str(ROOT / SCRIPT)]
    stdout = subprocess.check_output(
        command, env=ENV, stderr=subprocess.DEVNULL, encoding="utf-8"
    )
    lines, shown = stdout.splitlines(), captured(SCRIPT)
    check_same(Run(lines), shown)
    assert lines != shown.lines == run("nn/two_layer_net_nn.py").lines
