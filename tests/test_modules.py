"""What the README says about modules, their parameters and their losses."""

import pytest
import torch

from harness import Run, run


@pytest.fixture(scope="module")
def nn() -> Run:
    """What the nn script prints and leaves."""
    return run("nn/two_layer_net_nn.py")


@pytest.fixture(scope="module")
def module() -> dict:
    """What the module script leaves."""
    return run("nn/two_layer_net_module.py").names


def test_linear_draws_from_a_range_that_shrinks_with_its_inputs(nn) -> None:
    for weight, bias in nn.initial:
        inputs = weight.shape[1]
        for values in (weight, bias):
            assert abs(values).max() <= inputs**-0.5
            assert abs(values).max() > 0.7 * inputs**-0.5


def test_first_loss_is_small_because_of_it(nn) -> None:
    # By hand the weights are ten to thirty times larger, the outputs hundreds.
    by_hand = run("tensor/two_layer_net_tensor.py")
    assert 1e7 < by_hand.losses[0] < 1e8
    x, h = by_hand.names["x"], torch.randn(1000, 100)
    outputs = torch.relu(x @ h) @ torch.randn(100, 10)
    assert 100 < outputs.std() < 1000
    assert 300 < nn.losses[0] < 1000


def test_mean_is_the_sum_over_the_number_of_elements(nn) -> None:
    names = nn.names
    y_pred, y = names["y_pred"].detach(), names["y"]
    mean = torch.nn.MSELoss()(y_pred, y)
    assert y.numel() == 640
    assert names["loss"].item() == pytest.approx(640 * mean.item(), rel=1e-5)


def test_modules_set_as_attributes_are_registered(module) -> None:
    names = [name for name, _ in module["model"].named_parameters()]
    assert names == [
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
        "linear2.bias",
    ]


def test_modules_in_a_plain_list_are_not_registered() -> None:
    class Listed(torch.nn.Module):
        def __init__(self, make):
            super().__init__()
            self.layers = make([torch.nn.Linear(2, 2)])

    assert not list(Listed(list).parameters())
    assert len(list(Listed(torch.nn.ModuleList).parameters())) == 2


def test_calling_a_model_calls_its_hooks_and_forward_does_not(module) -> None:
    model, calls = module["model"], []
    hook = model.register_forward_hook(lambda *_: calls.append("called"))
    called = model(module["x"])
    assert calls == ["called"]
    assert torch.equal(called, model.forward(module["x"]))
    assert calls == ["called"]
    hook.remove()
