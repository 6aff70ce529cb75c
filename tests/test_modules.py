"""What the page says about modules, their parameters and their losses."""

import math

import pytest
import torch
from torch import nn

from build_readme import diff, read_lines
from harness import ROOT, Run, run

SCRIPT = "nn/two_layer_net_nn.py"
BY_HAND = "autograd/two_layer_net_autograd.py"
MODULE = "nn/two_layer_net_module.py"


@pytest.fixture(scope="module")
def trained() -> Run:
    """What the nn script prints and leaves."""
    return run(SCRIPT)


@pytest.fixture(scope="module")
def module() -> Run:
    """What the module script prints and leaves."""
    return run(MODULE)


def test_linear_holds_and_computes() -> None:
    layer, x = nn.Linear(1000, 100), torch.randn(64, 1000)
    shapes = {n: tuple(p.shape) for n, p in layer.named_parameters()}
    assert shapes == {"weight": (100, 1000), "bias": (100,)}
    assert layer.weight.requires_grad and layer.bias.requires_grad
    expected = x @ layer.weight.T + layer.bias
    torch.testing.assert_close(layer(x), expected)


def test_linear_draws_uniformly_from_a_range_that_shrinks(trained) -> None:
    for weight, bias in trained.initial:
        bound = weight.shape[1] ** -0.5
        assert max(abs(weight).max(), abs(bias).max()) <= bound
        # As many below half of the bound as above it: uniform.
        assert abs((abs(weight) < bound / 2).mean() - 0.5) < 0.05
    assert round(trained.losses[0], -2) == 600


def test_first_loss_by_hand_is_large_and_so_are_its_gradients() -> None:
    stop = {"range(500)": "range(1)"}
    by_hand, with_nn = run(BY_HAND, changes=stop), run(SCRIPT, changes=stop)
    w1, w2, y_pred = (by_hand.names[name] for name in ("w1", "w2", "y_pred"))
    assert 2.5e7 < by_hand.losses[0] < 3.5e7 and 100 < y_pred.std() < 1000
    assert abs(w1.std() - 1) < 0.05 and abs(w2.std() - 1) < 0.2
    gradient = with_nn.names["model"][0].weight.grad
    assert w1.grad.std() > 1000 * gradient.std()
    too_long = run(BY_HAND, changes={"= 1e-6": "= 1e-4"})
    assert math.isnan(too_long.losses[499])


def test_mean_is_the_sum_over_the_number_of_elements(trained) -> None:
    y_pred, y, loss = (trained.names[n] for n in ("y_pred", "y", "loss"))
    assert y.numel() == 640
    torch.testing.assert_close(loss, torch.square(y_pred - y).sum())
    torch.testing.assert_close(nn.MSELoss()(y_pred, y), loss / 640)


def test_mean_needs_another_learning_rate(trained) -> None:
    fault = "faults/mean_loss.diff"
    assert run(fault).fall < 1.1
    rate = {"learning_rate = 1e-4": "learning_rate = 0.064"}
    mended = run(fault, changes=rate).losses
    sums = {step: 640 * loss for step, loss in mended.items()}
    assert sums == pytest.approx(trained.losses, rel=0.05)


def test_loss_functions_are_modules_and_models_functions(trained) -> None:
    model, x = trained.names["model"], trained.names["x"]
    assert isinstance(trained.names["loss_fn"], nn.Module)
    assert isinstance(model, nn.Sequential)
    assert torch.equal(model(x), model[2](model[1](model[0](x))))


def test_to_moves_a_model_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert model.to("meta") is model
    assert all(p.device.type == "meta" for p in model.parameters())
    with pytest.raises(RuntimeError, match="device"):
        model(torch.ones(2, 2))


def test_modules_set_as_attributes_are_registered(module) -> None:
    model = module.names["model"]
    layers = [*model.linear1.parameters(), *model.linear2.parameters()]
    assert list(map(id, model.parameters())) == list(map(id, layers))
    assert model(torch.ones(7, 1000)).shape == (7, 10)


def test_modules_in_a_plain_list_are_not_registered(module) -> None:
    fault = "faults/plain_list.diff"
    assert not list(run(fault).names["model"].parameters())
    layers = "[nn.Linear(D_in, H), nn.Linear(H, D_out)]"
    mended = run(fault, changes={layers: f"nn.ModuleList({layers})"})
    assert mended.lines == module.lines


def test_layers_made_in_forward_are_new_at_every_call() -> None:
    class Forgetful(nn.Module):
        def forward(self, x):
            return nn.Linear(2, 2)(x)

    model = Forgetful()
    assert not torch.equal(model(torch.ones(2)), model(torch.ones(2)))
    assert not list(model.parameters())


def test_calling_a_model_calls_its_hooks_and_forward_does_not(module) -> None:
    model, x, calls = module.names["model"], module.names["x"], []
    with model.register_forward_hook(lambda *_: calls.append("called")):
        expected = model.forward(x)
        assert not calls
        assert torch.equal(model(x), expected) and calls == ["called"]


def changed(old: str, new: str) -> list[str]:
    """Return the lines that the page's difference takes out and puts in."""
    lines = diff(ROOT, old, new)[2:]
    return [
        "\n".join(line[1:] for line in lines if line.startswith(sign))
        for sign in "-+"
    ]


def test_each_step_changes_what_the_page_says() -> None:
    out, new = changed("tensor/two_layer_net_tensor.py", BY_HAND)
    assert out.count("    grad_") == 5 and new.count("loss.backward()") == 1
    tensorflow = "autograd/tf_two_layer_net.py"
    assert "def train_step(x, y):" in changed(BY_HAND, tensorflow)[1]
    loop = "".join(read_lines(ROOT, tensorflow)).split("for t in range")[1]
    assert loop.count("train_step(") == 1 and "w1" not in loop
    out, new = changed(BY_HAND, SCRIPT)
    assert "w1" in out and "w1" not in new and "w2" not in new
    out, new = changed(SCRIPT, "nn/two_layer_net_optim.py")
    assert "for param in model.parameters():" in out and "for" not in new
    out, new = changed("nn/two_layer_net_optim.py", MODULE)
    top = [line for line in new.splitlines() if not line.startswith("    ")]
    model = "model = TwoLayerNet(D_in, H, D_out).to(device)"
    assert top == ["class TwoLayerNet(nn.Module):", model]
    assert out.startswith("model = nn.Sequential(") and len(out) < 120
    new = changed(MODULE, "nn/dynamic_net.py")[1]
    assert "self.middle_linear = " in new and "for _ in range(depth" in new
