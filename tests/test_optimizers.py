"""The optimizer of the optim script is swapped by changing one line."""

import pytest
import torch

from harness import ROOT, run

SCRIPT = "nn/two_layer_net_optim.py"
SWAPS = {
    "SGD": {"lr": 1e-4},
    "SGD with momentum": {"lr": 1e-4, "momentum": 0.9},
    "Adagrad": {"lr": 1e-2},
    "RMSprop": {"lr": 1e-4},
    "Adam": {"lr": 1e-4},
    "AdamW": {"lr": 1e-4},
}


def test_one_line_names_the_optimizer() -> None:
    source = (ROOT / SCRIPT).read_text(encoding="utf-8")
    assert source.count("torch.optim.") == 1


@pytest.mark.parametrize("swap", SWAPS)
def test_optimizer_swaps_in_one_line(swap, monkeypatch) -> None:
    optimizer_class = getattr(torch.optim, swap.split()[0])
    monkeypatch.setattr(
        torch.optim,
        "Adam",
        lambda parameters, lr: optimizer_class(parameters, **SWAPS[swap]),
    )
    result = run(SCRIPT)
    assert isinstance(result.names["optimizer"], optimizer_class)
    assert result.fall >= 1000


def test_zero_grad_after_backward_leaves_nothing_to_use() -> None:
    names = run(SCRIPT).names
    model, optimizer = names["model"], names["optimizer"]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    names["loss_fn"](model(names["x"]), names["y"]).backward()
    optimizer.zero_grad()
    optimizer.step()
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert parameter.grad is None and torch.equal(parameter, value)
