"""The session on your own data: what the page says you must check."""

import re

import numpy as np
import pytest
import torch

from harness import change
from pages import blocks, says

PAGE = "README_raw.md"
ORDER = "order = rng.permutation(len(inputs))"
AS_THEY_ARE = {ORDER: "order = np.arange(len(inputs))"}
INPUTS = "inputs = rng.standard_normal((1000, 5))"
SORTED = {INPUTS: f"{INPUTS}; inputs = inputs[inputs[:, 0].argsort()]"}
LARGE = {"x = torch.tensor(inputs,": "x = torch.tensor(1000 * inputs,"}
SCALED = {
    "x = torch.tensor(inputs,": (
        "inputs = 1000 * inputs\n"
        "mean, std = inputs[:800].mean(axis=0), inputs[:800].std(axis=0)\n"
        "x = torch.tensor((inputs - mean) / std,"
    )
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> None:
    """A folder of the test's own, where the session saves its model."""
    monkeypatch.chdir(tmp_path)


def session() -> str:
    """Return the code of the session, without what it shows."""
    (text,) = [text for _, text in blocks(PAGE, "pycon") if "loader" in text]
    code = re.findall(r"^(?:>>>|\.\.\.) (.*)$", text, re.MULTILINE)
    return "\n".join(code)


def train(changes: dict[str, str], seed: int = 0) -> dict:
    """Run the session with changes; return the names that it leaves."""
    torch.manual_seed(seed)
    names = {}
    exec(change(PAGE, session(), changes), names)
    return names


def held_out_loss(changes: dict[str, str]) -> float:
    return train(changes)["held_out_loss"].item()


def loss_of_the_mean(names: dict) -> float:
    """Return the held-out loss of always predicting the mean target."""
    y_held_out, mean = names["y_held_out"], names["y_train"].mean()
    return (y_held_out - mean).square().mean().item()


# Order.


def test_sorted_rows_spoil_what_is_held_out() -> None:
    says("The last rows of a sorted array are unlike the others")
    names = train(SORTED | AS_THEY_ARE)
    assert names["held_out_loss"] > 10 * held_out_loss({})


def test_shuffling_before_the_split_mends_it() -> None:
    says("so shuffle before you split")
    assert held_out_loss(SORTED) < 0.01


def test_the_loader_shuffles_too_late() -> None:
    says("`shuffle=True` comes too late for that.")
    data = train(SORTED | AS_THEY_ARE)["data"]
    largest = max(inputs[0] for inputs, _ in data)
    assert largest < 1  # A standard normal number is often larger.


# Scale.


def test_inputs_are_near_0_and_1() -> None:
    says("a mean of about 0 and a standard deviation of about 1")
    inputs = train({})["inputs"]
    assert np.abs(inputs.mean(axis=0)).max() < 0.1
    assert np.abs(inputs.std(axis=0) - 1).max() < 0.1


def test_large_inputs_are_learned_badly() -> None:
    names = train(LARGE)
    assert names["held_out_loss"] > loss_of_the_mean(names)


def test_scaled_they_are_learned_well() -> None:
    says(
        "subtract the mean of the training examples and divide by their "
        "standard deviation, here and before each prediction"
    )
    assert held_out_loss(SCALED) < 0.01


def test_an_input_that_is_not_scaled_gives_a_wrong_prediction() -> None:
    model = train(SCALED)["model"]
    x_new = torch.tensor([[-2000.0, 0.0, 0.0, 0.0, 0.0]])
    with torch.no_grad():
        assert model(x_new).item() > 100  # The target is 2.


# Shape.


def test_an_index_of_none_adds_the_dimension() -> None:
    (rows,) = says("If your targets have the shape ({},), write")
    targets = train({})["targets"]
    assert targets[:, 0].shape == (rows,)
    assert targets[:, 0][:, None].shape == targets.shape
