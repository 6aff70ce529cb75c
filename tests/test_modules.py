"""What the page says about modules, their parameters and their losses."""

import pytest
import torch
from torch import nn

from build_readme import cut, read_lines
from harness import ROOT, Run, run

SCRIPT = "nn/two_layer_net_nn.py"


@pytest.fixture(scope="module")
def trained() -> Run:
    """What the nn script prints and leaves."""
    return run(SCRIPT)


@pytest.fixture(scope="module")
def module() -> dict:
    """What the module script leaves."""
    return run("nn/two_layer_net_module.py").names


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
    by_hand = "autograd/two_layer_net_autograd.py"
    stop = {"range(500)": "range(1)"}
    first = run(by_hand, changes=stop)
    assert first.names["learning_rate"] == 1e-6
    assert 2.5e7 < first.losses[0] < 3.5e7
    assert 100 < first.names["y_pred"].std() < 1000
    for name, bound in (("w1", 0.05), ("w2", 0.2)):
        assert abs(first.names[name].std() - 1) < bound
    nn_first = run(SCRIPT, changes=stop)
    assert nn_first.names["learning_rate"] == 1e-4
    gradient = nn_first.names["model"][0].weight.grad
    assert first.names["w1"].grad.std() > 1000 * gradient.std()
    too_long = run(by_hand, changes={"= 1e-6": "= 1e-4"}).losses
    assert too_long[499] != too_long[499]  # nan


def test_mean_is_the_sum_over_the_number_of_elements(trained) -> None:
    names = trained.names
    y_pred, y = names["y_pred"].detach(), names["y"]
    assert y.numel() == 640
    summed = torch.square(y_pred - y).sum()
    torch.testing.assert_close(names["loss"].detach(), summed)
    torch.testing.assert_close(nn.MSELoss()(y_pred, y), summed / 640)


def test_mean_needs_another_learning_rate(trained) -> None:
    fault = "faults/mean_loss.diff"
    losses = run(fault).losses
    assert losses[499] > 0.9 * losses[0]
    rate = {"learning_rate = 1e-4": "learning_rate = 0.064"}
    mended = run(fault, changes=rate).losses
    for step, loss in trained.losses.items():
        assert 640 * mended[step] == pytest.approx(loss, rel=0.05)


def test_loss_functions_are_modules_and_models_functions(trained) -> None:
    model, x = trained.names["model"], trained.names["x"]
    assert isinstance(trained.names["loss_fn"], nn.Module)
    assert isinstance(model, nn.Sequential)
    assert torch.equal(model(x), model[2](model[1](model[0](x))))
    initial = [part for layer in trained.initial for part in layer]
    for before, after in zip(initial, model.parameters(), strict=True):
        assert (torch.from_numpy(before) != after).float().mean() > 0.9


def test_to_moves_a_model_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert model.to("meta") is model
    assert all(p.device.type == "meta" for p in model.parameters())
    assert torch.ones(2).to("meta").device.type == "meta"
    with pytest.raises(RuntimeError, match="device"):
        model(torch.ones(2, 2))


def test_modules_set_as_attributes_are_registered(module) -> None:
    model = module["model"]
    assert [name for name, _ in model.named_parameters()] == [
        f"linear{i}.{part}" for i in (1, 2) for part in ("weight", "bias")
    ]
    assert model(torch.ones(7, 1000)).shape == (7, 10)


def test_modules_in_a_plain_list_are_not_registered() -> None:
    fault = "faults/plain_list.diff"
    assert not list(run(fault).names["model"].parameters())
    layers = "[nn.Linear(D_in, H), nn.Linear(H, D_out)]"
    mended = run(fault, changes={layers: f"nn.ModuleList({layers})"})
    assert mended.lines == run("nn/two_layer_net_module.py").lines


def test_layers_made_in_forward_are_new_at_every_call() -> None:
    class Forgetful(nn.Module):
        def forward(self, x):
            return nn.Linear(2, 2)(x)

    model, x = Forgetful(), torch.ones(1, 2)
    assert not torch.equal(model(x), model(x))
    assert not list(model.parameters())


def test_calling_a_model_calls_its_hooks_and_forward_does_not(module) -> None:
    model, calls = module["model"], []
    hook = model.register_forward_hook(lambda *_: calls.append("called"))
    called = model(module["x"])
    assert calls == ["called"]
    assert torch.equal(called, model.forward(module["x"]))
    assert calls == ["called"]
    hook.remove()


def changed(old: str, new: str) -> tuple[str, str]:
    """Return the code lines that only the old and only the new script have."""
    one, other = (cut(read_lines(ROOT, n), n, True) for n in (old, new))
    return (
        "\n".join(line for line in one if line not in other),
        "\n".join(line for line in other if line not in one),
    )


def test_each_step_changes_what_the_page_says() -> None:
    autograd = "autograd/two_layer_net_autograd.py"
    optim, module = (f"nn/two_layer_net_{x}.py" for x in ("optim", "module"))
    out, new = changed("tensor/two_layer_net_tensor.py", autograd)
    assert out.count("    grad_") == 5 and new.count("loss.backward()") == 1
    tensorflow = "autograd/tf_two_layer_net.py"
    assert "def train_step(x, y):" in changed(autograd, tensorflow)[1]
    loop = "".join(read_lines(ROOT, tensorflow)).split("for t in range")[1]
    assert loop.count("train_step(") == 1 and "w1" not in loop
    out, new = changed(autograd, SCRIPT)
    assert "w1" in out and "w1" not in new and "w2" not in new
    out, new = changed(SCRIPT, optim)
    assert "for param in model.parameters():" in out and "for" not in new
    out, new = changed(optim, module)
    top = [line for line in new.splitlines() if not line.startswith("    ")]
    model = "model = TwoLayerNet(D_in, H, D_out).to(device)"
    assert top == ["class TwoLayerNet(nn.Module):", model]
    assert out.startswith("model = nn.Sequential(") and len(out) < 120
    new = changed(module, "nn/dynamic_net.py")[1]
    assert "self.middle_linear = " in new and "for _ in range(depth" in new
