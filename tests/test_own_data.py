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


def scaled(factors: str, options: str) -> dict[str, str]:
    """Multiply the inputs by factors, then scale them by mean and std."""
    return {
        "x = torch.tensor(inputs,": (
            f"inputs = {factors} * inputs\n"
            f"mean = inputs[:800].mean({options})\n"
            f"std = inputs[:800].std({options})\n"
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


# Five random walks, and a sixth as the target: there is nothing to learn.
WALKS = {
    INPUTS: "walks = rng.standard_normal((1000, 6)).cumsum(axis=0); "
    "inputs = walks[:, :5]",
    "targets = np.abs(inputs[:, :1])": "targets = walks[:, 5:]",
}


def test_shuffled_rows_of_the_past_give_the_future_away() -> None:
    says("(If you predict the future, do not shuffle: hold out the latest")
    shuffled = train(WALKS)
    assert shuffled["held_out_loss"] < loss_of_the_mean(shuffled) / 3
    latest = train(WALKS | AS_THEY_ARE)
    assert latest["held_out_loss"] > loss_of_the_mean(latest) / 3


# Scale.


def test_inputs_are_near_0_and_1() -> None:
    says("a mean of about 0 and a standard deviation of about 1")
    inputs = train({})["inputs"]
    assert np.abs(inputs.mean(axis=0)).max() < 0.1
    assert np.abs(inputs.std(axis=0) - 1).max() < 0.1


def test_large_inputs_are_learned_badly() -> None:
    names = train(LARGE)
    assert names["held_out_loss"] > loss_of_the_mean(names)


UNLIKE = "np.array([1, 1000, 1, 1, 1])"


@pytest.mark.parametrize("factors", ["1000", UNLIKE])
def test_with_each_column_scaled_they_are_learned_well(factors) -> None:
    says(
        "subtract the column's mean and divide by its standard deviation, "
        "both taken from the training examples"
    )
    assert held_out_loss(scaled(factors, "axis=0")) < 0.01


def test_one_mean_for_columns_that_are_unlike_is_not_enough() -> None:
    assert held_out_loss(scaled(UNLIKE, "")) > 0.1


def test_an_input_that_is_not_scaled_gives_a_wrong_prediction() -> None:
    says("and do the same before each prediction")
    model = train(scaled("1000", "axis=0"))["model"]
    x_new = torch.tensor([[-2000.0, 0.0, 0.0, 0.0, 0.0]])
    with torch.no_grad():
        assert model(x_new).item() > 100  # The target is 2.


# Shape.


def test_an_index_of_none_adds_the_dimension() -> None:
    (rows,) = says("If your targets have the shape ({},), write")
    targets = train({})["targets"]
    assert targets[:, 0].shape == (rows,)
    assert targets[:, 0][:, None].shape == targets.shape
