"""Many processes train one net as one process does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DistributedSampler

from harness import (
    Run,
    captured,
    change,
    check_same,
    run,
    shared_run,
    source_of,
)
from make_outputs import ENVIRONMENT, ROOT
from pages import read

SCRIPT = "further/distributed_net.py"
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}
ENV = os.environ | ENVIRONMENT | LOOPBACK

FLOAT64 = "import torch\ntorch.set_default_dtype(torch.float64)\n"
# Each process draws numbers of its own.
SEEDED = {"torch.manual_seed(0)": 'torch.manual_seed(int(os.environ["RANK"]))'}
# Before the processes part, each keeps its parameters and its losses.
KEPT = """
kept = {
    "names": list(model.state_dict()),
    "parameters": list(model.state_dict().values()),
    "examples": len(x),
}
"""
LAST_LINE = "dist.destroy_process_group()\n"
SAVE = '\ntorch.save(kept, f"{rank}.pt")\n'

# The changes that the page makes for DistributedDataParallel.
IMPORT = "import torch.distributed as dist\n"
DDP = {
    IMPORT: IMPORT + "import torch.distributed.nn.functional\n",
    "for tensor in (x, y, *model.state_dict().values()):": (
        "for tensor in (x, y):"
    ),
    "learning_rate = 1e-4": (
        "learning_rate = 1e-4\n"
        "model = nn.parallel.DistributedDataParallel(model)"
    ),
    "    loss.backward()": "    (world_size * loss).backward()",
    "        dist.all_reduce(param.grad)": "        pass",
}
# The names of the threads that are left at the end, as Linux gives them.
THREADS = """
from pathlib import Path
tasks = Path("/proc/self/task")
kept["threads"] = [path.read_text() for path in tasks.glob("*/comm")]
"""
# The model of the dynamic net, used at two depths.
DYNAMIC = """
class DynamicNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, h, depth):
        h = self.first(h)
        for _ in range(depth - 1):
            h = self.middle(h)
        return h

def use_dynamic_net(**options):
    wrapped = nn.parallel.DistributedDataParallel(DynamicNet(), **options)
    for depth in (1, 3, 1):
        wrapped(torch.ones(2, 3), depth).sum().backward()
    return "no error"

kept["searched"] = use_dynamic_net(find_unused_parameters=True)
try:
    kept["not searched"] = use_dynamic_net()
except RuntimeError as error:
    kept["not searched"] = str(error)
"""


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def train(folder: Path, source: str, world_size: int) -> list[dict]:
    """Run a script in so many processes; return what each of them kept.

    They are started as any launcher might, without torchrun.
    """
    (folder / "script.py").write_text(source, "utf-8")
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    started = []
    for rank in range(world_size):
        told = {"RANK": str(rank), "WORLD_SIZE": str(world_size), **place}
        command = [sys.executable, "script.py"]
        started.append(subprocess.Popen(command, cwd=folder, env=ENV | told))
    try:
        codes = [process.wait(timeout=100) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0] * world_size
    return [torch.load(folder / f"{r}.pt") for r in range(world_size)]


@pytest.fixture(scope="module")
def alone() -> list[torch.Tensor]:
    """The final parameters of one process that has all examples."""
    model = run(SCRIPT, dtype="float64").names["model"]
    return list(model.state_dict().values())


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> list[dict]:
    """What each of three processes kept; their shares differ in size."""
    changes = SEEDED | {LAST_LINE: KEPT + LAST_LINE + SAVE}
    source = FLOAT64 + change(SCRIPT, source_of(SCRIPT)[1], changes)
    return train(tmp_path_factory.mktemp("net"), source, 3)


@pytest.fixture(scope="module")
def ddp(tmp_path_factory) -> list[dict]:
    """What each of two processes with DistributedDataParallel kept."""
    end = KEPT + DYNAMIC + "\ndel model\n" + LAST_LINE
    if sys.platform == "linux":
        end += THREADS
    changes = SEEDED | DDP | {LAST_LINE: end + SAVE}
    source = FLOAT64 + change(SCRIPT, source_of(SCRIPT)[1], changes)
    return train(tmp_path_factory.mktemp("ddp"), source, 2)


def test_processes_agree_with_one_whatever_they_draw(processes, alone):
    margin = 1e-9
    for kept in processes:
        torch.testing.assert_close(
            kept["parameters"], alone, rtol=margin, atol=margin
        )


def test_processes_end_with_the_same_bits(processes) -> None:
    first, *others = [kept["parameters"] for kept in processes]
    for parameters in others:
        torch.testing.assert_close(parameters, first, rtol=0, atol=0)


def test_shares_make_up_all_examples(processes) -> None:
    shares = [kept["examples"] for kept in processes]
    assert sum(shares) == 64
    assert max(shares) - min(shares) <= 1


def test_one_process_prints_what_the_nn_script_prints() -> None:
    nn = shared_run("nn/two_layer_net_nn.py")
    assert run(SCRIPT).lines == ["processes 1  device cpu", *nn.lines]


def test_torchrun_starts_processes_of_which_one_prints() -> None:
    options = (
        "--local-addr localhost --nnodes 1 --nproc-per-node 2 --rdzv-id net1 "
        f"--rdzv-backend c10d --rdzv-endpoint localhost:{free_port()}"
    )
    page = read("further/README_raw.md")
    for option in options.split()[::2]:
        assert option in page, f"the page names no {option}; leave it out here"
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    stdout = subprocess.check_output(
        [*torchrun, *options.split(), str(ROOT / SCRIPT)],
        env=ENV,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    first, *losses = stdout.splitlines()
    assert first == "processes 2  device cpu"
    check_same(SCRIPT, Run(losses), Run(captured(SCRIPT).lines[1:]))


def test_missing_world_size_is_an_error(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match="WORLD_SIZE expected"):
        run(SCRIPT)


def test_ddp_takes_the_mean_and_copies_the_parameters(ddp, alone) -> None:
    for kept in ddp:
        torch.testing.assert_close(
            kept["parameters"], alone, rtol=1e-9, atol=1e-9
        )


def test_ddp_puts_module_before_each_name(ddp) -> None:
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert ddp[0]["names"] == [f"module.{name}" for name in names]


def test_ddp_raises_where_a_layer_is_not_used(ddp) -> None:
    shown = "Expected to have finished reduction in the prior iteration"
    assert shown in read("further/README_raw.md")
    assert ddp[0]["not searched"].startswith(shown)


def test_ddp_can_search_for_what_is_not_used(ddp) -> None:
    assert ddp[0]["searched"] == "no error"


def test_distributed_sampler_repeats_an_example() -> None:
    shares = [
        DistributedSampler(range(5), num_replicas=2, rank=rank)
        for rank in range(2)
    ]
    assert [len(share) for share in shares] == [3, 3]
    assert len({*shares[0], *shares[1]}) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_no_thread_of_gloo_outlives_the_group(ddp) -> None:
    assert ddp[0]["threads"]
    assert not [name for name in ddp[0]["threads"] if "gloo" in name]
