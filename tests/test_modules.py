"""What the page says about modules, their parameters and their losses."""

import re

import pytest
import torch
from torch import nn

from build_readme import diff
from harness import ROOT, Run, run
from test_outputs import RAW

SCRIPT = "nn/two_layer_net_nn.py"


@pytest.fixture(scope="module")
def trained() -> Run:
    """What the nn script prints and leaves."""
    return run(SCRIPT, dtype="float64")


def test_linear_holds_and_computes() -> None:
    layer, x = nn.Linear(1000, 100), torch.randn(64, 1000)
    assert layer.weight.shape == (100, 1000) and layer.bias.shape == (100,)
    assert layer.weight.requires_grad and layer.bias.requires_grad
    expected = x @ layer.weight.T + layer.bias
    torch.testing.assert_close(layer(x), expected)


def test_linear_draws_uniformly_and_much_less_than_we_by_hand() -> None:
    by_hand, with_nn = (
        run(script, changes={"range(500)": "range(1)"})
        for script in ("autograd/two_layer_net_autograd.py", SCRIPT)
    )
    for weight, bias in with_nn.initial:
        bound = weight.shape[1] ** -0.5
        assert max(abs(weight).max(), abs(bias).max()) <= bound
        # As many below half of the bound as above it: uniform.
        assert abs((abs(weight) < bound / 2).mean() - 0.5) < 0.05
    w1, w2, y_pred = (by_hand.names[name] for name in ("w1", "w2", "y_pred"))
    assert abs(w1.std() - 1) < 0.05 and abs(w2.std() - 1) < 0.2
    assert 100 < y_pred.std() < 1000 and 2.5e7 < by_hand.losses[0] < 3.5e7
    assert round(with_nn.losses[0], -2) == 600
    gradient = with_nn.names["model"][0].weight.grad
    assert w1.grad.std() > 1000 * gradient.std()


def test_mean_needs_another_learning_rate(trained) -> None:
    fault = "faults/mean_loss.diff"
    assert run(fault).fall < 1.1
    rate = {"learning_rate = 1e-4": "learning_rate = 0.064"}
    mended = run(fault, dtype="float64", changes=rate).losses
    sums = {step: 640 * loss for step, loss in mended.items()}
    assert sums == pytest.approx(trained.losses, rel=1e-5)


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


def test_module_list_registers_its_layers() -> None:
    layers = "[nn.Linear(D_in, H), nn.Linear(H, D_out)]"
    changes = {layers: f"nn.ModuleList({layers})"}
    mended = run("faults/plain_list.diff", changes=changes)
    assert mended.lines == run("nn/two_layer_net_module.py").lines


def test_layers_made_in_forward_are_new_at_every_call() -> None:
    class Forgetful(nn.Module):
        def forward(self, x):
            return nn.Linear(2, 2)(x)

    model = Forgetful()
    assert not torch.equal(model(torch.ones(2)), model(torch.ones(2)))


def test_calling_a_model_calls_its_hooks_and_forward_does_not() -> None:
    model, x, calls = nn.Linear(2, 2), torch.ones(2), []
    model.register_forward_hook(lambda *_: calls.append("called"))
    expected = model.forward(x)
    assert not calls
    assert torch.equal(model(x), expected) and calls == ["called"]


# What the difference that the page shows has so many times.
@pytest.mark.parametrize(
    ("new", "pattern", "times"),
    [
        ("two_layer_net_autograd", r"-    grad_", 5),
        ("two_layer_net_autograd", r"\+    loss\.backward\(\)$", 1),
        ("two_layer_net_custom_function", r"\+class MyReLU\(", 1),
        ("two_layer_net_custom_function", r"\+    .* = MyReLU\.apply\(", 1),
        ("tf_two_layer_net", r"\+def train_step\(x, y\):", 1),
        ("tf_two_layer_net", r"\+    loss = train_step\(x, y\)$", 1),
        ("tf_two_layer_net", r" for t in (?s:.*)\n[ +].*w1", 0),
        ("two_layer_net_nn", r"\+model = ", 1),
        ("two_layer_net_nn", r"[ +].*\bw[12]\b", 0),
        ("two_layer_net_optim", r"-        for param in ", 1),
        ("two_layer_net_optim", r"\+.*\bfor\b", 0),
        ("two_layer_net_module", r"\+(?:class|model = ) ?TwoLayerNet\(", 2),
        ("two_layer_net_module", r"\+\S", 2),
        ("two_layer_net_module", r"-", 5),
        ("dynamic_net", r"\+        self\.middle_linear = ", 1),
        ("dynamic_net", r"\+        for _ in .*\n\+.*self\.middle_lin", 1),
    ],
)
def test_each_step_changes_what_the_page_says(new, pattern, times) -> None:
    (pair,) = re.findall(rf"^:DIFF (\S+) (\S+/{new}\.py)$", RAW, re.M)
    changes = "\n".join(diff(ROOT, *pair)[2:])
    assert len(re.findall(f"^{pattern}", changes, re.MULTILINE)) == times
