"""Layers, their first values, their losses, and what a module registers."""

import pytest
import torch
from torch import nn

from harness import Run, run, shared_run
from pages import blocks, says
from scripts import LAST

SCRIPT = "nn/two_layer_net_nn.py"
BY_HAND = "autograd/two_layer_net_autograd.py"


@pytest.fixture(scope="module")
def first_step() -> Run:
    return run(SCRIPT, steps=1)


@pytest.fixture(scope="module")
def first_step_by_hand() -> Run:
    return run(BY_HAND, steps=1)


def test_linear_holds_and_computes_what_the_page_says() -> None:
    says(
        "holds a `weight` of shape (100, 1000) and a `bias` of shape (100,), "
        "and computes `x @ weight.T + bias`"
    )
    layer, x = nn.Linear(1000, 100), torch.randn(64, 1000)
    assert layer.weight.shape == (100, 1000)
    assert layer.bias.shape == (100,)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_parameters_require_grad_already() -> None:
    says("holds its parameters, which already have `requires_grad=True`")
    assert all(param.requires_grad for param in nn.Linear(3, 2).parameters())


def test_sequential_chains_its_modules(first_step) -> None:
    model, x = first_step.names["model"], first_step.names["x"]
    assert torch.equal(model(x), model[2](model[1](model[0](x))))


def test_losses_are_modules(first_step) -> None:
    assert isinstance(first_step.names["loss_fn"], nn.Module)


def test_to_moves_a_model_itself() -> None:
    model = nn.Linear(2, 2)
    assert model.to("meta") is model
    assert model.weight.device.type == "meta"


# Why the learning rate is larger with nn.


def test_rates_and_first_losses_are_those_of_the_page(
    first_step, first_step_by_hand
) -> None:
    rate, rate_by_hand = says("The learning rate is {} here and was {} before")
    assert first_step.names["learning_rate"] == rate
    assert first_step_by_hand.names["learning_rate"] == rate_by_hand
    (loss_by_hand,) = says("and the first loss was about {}.")
    (loss,) = says("the number of inputs, and the first loss is about {}.")
    assert first_step_by_hand.losses[0] == pytest.approx(loss_by_hand, rel=0.1)
    assert first_step.losses[0] == pytest.approx(loss, rel=0.1)


def test_both_products_made_the_numbers_larger(first_step_by_hand) -> None:
    says("Both products made the numbers larger")
    names = first_step_by_hand.names
    x, h, y_pred = (names[name].std() for name in ("x", "h", "y_pred"))
    assert h > 10 * x
    assert y_pred > 5 * h


@pytest.mark.parametrize("layer", [0, 2])
def test_linear_draws_within_one_over_the_root_of_its_inputs(layer) -> None:
    linear = run(SCRIPT, steps=0).names["model"][layer]
    bound = linear.in_features**-0.5
    assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert linear.bias.abs().max() <= bound


def test_smaller_weights_train_at_the_larger_rate() -> None:
    scaled = {
        "w1 = torch.randn(D_in, H, device=device, requires_grad=True)": (
            "w1 = (torch.randn(D_in, H) / D_in**0.5).requires_grad_()"
        ),
        "w2 = torch.randn(H, D_out, device=device, requires_grad=True)": (
            "w2 = (torch.randn(H, D_out) / H**0.5).requires_grad_()"
        ),
        "learning_rate = 1e-6": "learning_rate = 1e-4",
    }
    assert run(BY_HAND, changes=scaled).fall > 1e5


def test_larger_rate_does_not_train_even_from_a_small_loss() -> None:
    says(
        "a small change in the weights changes the gradient a lot, so only "
        "tiny steps were stable"
    )
    # A target close to the first prediction makes the gradients small.
    near = {
        "learning_rate = 1e-6": (
            "with torch.no_grad():\n"
            "    y = torch.relu(x @ w1) @ w2 + 0.01 * y\n"
            "learning_rate = 1e-4"
        )
    }
    losses = run(BY_HAND, changes=near).losses
    assert losses[0] < 1
    assert not losses[LAST] < losses[0]  # Larger, or nan.


def test_the_larger_rate_alone_does_not_train() -> None:
    rate = {"learning_rate = 1e-6": "learning_rate = 1e-4"}
    assert not run(BY_HAND, changes=rate).fall > 1


# Sum and mean.


def test_mean_divides_by_the_elements_of_y(first_step) -> None:
    (elements,) = says("the sum divided by {}, the number of elements of `y`")
    model, x, y = (first_step.names[name] for name in ("model", "x", "y"))
    ratio = first_step.names["loss_fn"](model(x), y) / nn.MSELoss()(
        model(x), y
    )
    assert y.numel() == elements
    assert ratio.item() == pytest.approx(elements)


def test_mean_hardly_learns_at_the_rate_of_the_sum() -> None:
    assert run("faults/mean_loss.diff").fall < 1.1


def test_mean_takes_the_same_steps_at_a_larger_rate() -> None:
    (smaller,) = says("The mean is {} times smaller than the sum")
    times, rate = says("With the mean and a rate {} times larger, {}, the net")
    (and_the_losses,) = says("and prints losses that are {} times smaller")
    assert times == smaller
    assert times == and_the_losses
    assert rate == pytest.approx(times * 1e-4)
    changes = {"learning_rate = 1e-4": f"learning_rate = {rate}"}
    mended = run("faults/mean_loss.diff", dtype="float64", changes=changes)
    sums = {step: times * loss for step, loss in mended.losses.items()}
    assert sums == pytest.approx(run(SCRIPT, dtype="float64").losses, rel=1e-5)


def test_a_trained_model_is_used_as_the_page_shows(capsys) -> None:
    (use,) = [
        block
        for _, block in blocks("README_raw.md", "python")
        if "x_new" in block
    ]
    names = dict(shared_run(SCRIPT).names)
    exec(use, names)
    assert capsys.readouterr().out.startswith("tensor([[")
    assert names["model"](names["x_new"]).shape == (1, 10)


# Modules of one's own.


def test_module_script_prints_what_the_optim_script_prints() -> None:
    says("It prints exactly what the optim script printed.")
    module, optim = (f"nn/two_layer_net_{n}.py" for n in ("module", "optim"))
    assert shared_run(module).lines == shared_run(optim).lines


def test_layers_made_in_forward_are_new_at_every_call() -> None:
    class Forgetful(nn.Module):
        def forward(self, x):
            return nn.Linear(2, 2)(x)

    model = Forgetful()
    assert not torch.equal(model(torch.ones(2)), model(torch.ones(2)))


def test_calling_a_model_runs_its_hooks_and_forward_does_not() -> None:
    calls = []
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: calls.append("called"))
    model.forward(torch.ones(2))
    assert calls == []
    model(torch.ones(2))
    assert calls == ["called"]


class InAList(nn.Module):
    def __init__(self, container):
        super().__init__()
        self.layers = container([nn.Linear(2, 2)])


def test_layers_in_a_list_are_neither_moved_nor_saved() -> None:
    says("would not move these layers and `state_dict()` would not save them")
    model = InAList(list).to("meta")
    assert model.layers[0].weight.device.type == "cpu"
    assert model.state_dict() == {}


def test_layers_in_a_module_list_are_moved_and_saved() -> None:
    model = InAList(nn.ModuleList).to("meta")
    assert model.layers[0].weight.device.type == "meta"
    assert list(model.state_dict()) == ["layers.0.weight", "layers.0.bias"]


def test_module_list_mends_plain_list_diff() -> None:
    layers = "[nn.Linear(D_in, H), nn.Linear(H, D_out)]"
    changes = {layers: f"nn.ModuleList({layers})"}
    mended = run("faults/plain_list.diff", changes=changes)
    assert mended.lines == shared_run("nn/two_layer_net_module.py").lines
