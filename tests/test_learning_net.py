"""What the page says of held-out examples, of loading, and of going on."""

import numpy as np
import pytest
import torch
from torch import nn

from harness import STEPS, Run, run
from reference import Adam, loss_and_gradients, train

SCRIPT = "further/learning_net.py"


def trainings(result: Run) -> tuple[np.ndarray, list[int]]:
    """Return loss and held-out loss by training and step, and the best row."""
    rows = [line.split() for line in result.lines]
    losses = [[float(row[3]), float(row[5])] for row in rows if "loss" in row]
    best = [row for row in rows if row[0] == "best"]
    assert [row[-1] for row in best] == ["True", "True"]
    steps = [STEPS.index(int(row[3].strip(";"))) for row in best]
    return np.reshape(losses, (2, len(STEPS), 2)), steps


# Of the seeds from 0 to 23, 17 memorises best and 8 learns worst.
@pytest.mark.parametrize("seed", [0, 8, 17])
def test_memorised_and_learned(seed: int) -> None:
    result = run(SCRIPT, seed=seed)
    (few, many), (best, _) = trainings(result)
    mean = float(result.lines[0].split()[-1])
    assert few[-1, 0] < 1e-6 and few[-1, 1] > (0.4, 0.58)[seed == 0] * mean
    assert many[-1, 1] < mean / 10
    assert 3 / 4 < many[-1, 1] / many[-1, 0] < 4 / 3
    assert STEPS[best] < 250 and few[best, 1] < few[-1, 1]


def test_follows_adam_and_keeps_the_best_state() -> None:
    result = run(SCRIPT, dtype="float64")
    names, data = result.names, ("x", "y", "x_held_out", "y_held_out")
    x, y, *held_out = (names[name].numpy() for name in data)
    layers = [(weight.T, bias) for weight, bias in result.initial]
    for given in ((x, y), held_out):  # The teacher's targets.
        assert loss_and_gradients(*given, layers[:2], [0, 1])[0] < 1e-20
    mean = ((held_out[1] - y.mean(0)) ** 2).mean()
    assert result.lines[0] == f"mean target  held-out {mean:.6e}"
    # But for its epsilon, Adam takes the same steps with sum and mean.
    update, paths = Adam(2e-3), [[0, 1]] * 500
    losses, _ = train(x[:64], y[:64], layers[2:4], paths, update)
    printed, best = trainings(result)
    expected = np.array(losses)[STEPS] / 640
    np.testing.assert_allclose(printed[0, :, 0], expected, rtol=0.01)
    assert printed[:, :, 1].argmin(axis=1).tolist() == best
    state = names["best_model"].state_dict()
    assert list(state)[0] == "linear1.weight"
    w1, b1, w2, b2 = (value.numpy().T for value in state.values())
    loss, _ = loss_and_gradients(*held_out, [(w1, b1), (w2, b2)], [0, 1])
    assert loss / 10_000 == pytest.approx(printed[1, best[1], 1])
    assert not names["held_out_pred"].requires_grad
    assert not names["path"].parent.exists()


def test_loader_hands_out_every_example_once_an_epoch() -> None:
    names = run(SCRIPT).names
    x, loader = names["x"], names["loader"]
    epochs = [torch.cat([batch for batch, _ in loader]) for _ in range(2)]
    assert len(loader) == 100 and not torch.equal(*epochs)
    rows = x.unique(dim=0)
    for epoch in epochs:
        assert torch.equal(epoch.unique(dim=0), rows)
    together = torch.cat([x, names["x_held_out"]])
    assert len(together.unique(dim=0)) == 11000
    # Linear has one mode; Dropout and BatchNorm1d have two.
    for module in (names["model"], nn.Dropout(), nn.BatchNorm1d(20)):
        same = torch.equal(module.train()(x), module.eval()(x))
        assert same == (module is names["model"])


def test_going_on_takes_the_state_of_the_optimizer(tmp_path) -> None:
    def five_steps() -> list[torch.Tensor]:
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()]

    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    half_way = five_steps()
    live = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(live, tmp_path / "state.pt")
    whole, state = five_steps(), torch.load(tmp_path / "state.pt")
    assert all(map(torch.equal, state["model"].values(), half_way))
    assert all(map(torch.equal, live["model"].values(), whole))
    for load in (True, False):
        model.load_state_dict(state["model"])
        optimizer = torch.optim.Adam(model.parameters())
        if load:
            optimizer.load_state_dict(state["optimizer"])
        assert all(map(torch.equal, five_steps(), whole)) == load
