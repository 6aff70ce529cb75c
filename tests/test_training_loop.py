"""The training loop: its arithmetic, stopping and going on, what it gains."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import Run, run
from make_outputs import ENVIRONMENT, ROOT
from pages import says
from reference import Adam

SCRIPT = "further/training_loop.py"
CHECKPOINT = "training_loop.pt"
EPOCHS = 30
STEPS = 1200

# Changes to the script.
KEEP_LAST_STATE = {
    "model.load_state_dict(best_state)\n": (
        "last_state = copy.deepcopy(model.state_dict())\n"
        "model.load_state_dict(best_state)\n"
    )
}
KEEP_MODES = {
    "epochs = 30\n": "epochs = 30\ntraining_modes = []\n",
    "with torch.autocast(": (
        "training_modes.append(model.training)\n        with torch.autocast("
    ),
}
KEEP_Y_PRED = {
    "loss = loss_fn(model(x_batch), y_batch)": (
        "y_pred = model(x_batch)\n            loss = loss_fn(y_pred, y_batch)"
    )
}
ONE_EPOCH = {"epochs = 30": "epochs = 1"}
BFLOAT16_ON = {
    'device.type == "cuda" and torch.cuda.is_bf16_supported(False)': "True"
}


def run_in(folder: Path | str, *arguments: str, **options) -> Run:
    """Run the script in a folder, where it saves its checkpoint."""
    with contextlib.chdir(folder):
        return run(SCRIPT, arguments=arguments, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Run:
    return run_in(
        tmp_path_factory.mktemp("float32"),
        changes=KEEP_LAST_STATE | KEEP_MODES,
    )


@pytest.fixture(scope="module")
def uninterrupted_float64(tmp_path_factory) -> Run:
    return run_in(
        tmp_path_factory.mktemp("float64"),
        changes=KEEP_LAST_STATE,
        dtype="float64",
    )


# The arithmetic: the same training again, from the formulas.


def loss_and_gradients(x, y, layers) -> tuple[float, list]:
    """Return the mean cross-entropy, and the gradients of w1, b1, w2, b2."""
    w1, b1, w2, b2 = layers
    h = x @ w1 + b1
    h_relu = np.where(h > 0, h, 0)
    y_pred = h_relu @ w2 + b2
    shifted = y_pred - y_pred.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, keepdims=True)
    log_p = shifted - np.log(sums)
    target = np.eye(y_pred.shape[1])[y]
    loss = -(target * log_p).sum() / len(x)

    grad_y_pred = (np.exp(log_p) - target) / len(x)
    grad_h = np.where(h > 0, grad_y_pred @ w2.T, 0)
    gradients = [x.T @ grad_h, grad_h.sum(axis=0)]
    gradients += [h_relu.T @ grad_y_pred, grad_y_pred.sum(axis=0)]
    return float(loss), gradients


def clip(gradients: list, max_norm: float) -> list:
    """Return the gradients, shortened if all together are too long."""
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    return [gradient * min(1, max_norm / norm) for gradient in gradients]


def rate(t: int) -> float:
    """Return the learning rate of step t."""
    cosine = 2e-2 * (1 + np.cos(np.pi * t / STEPS)) / 2
    return cosine * (t + 1) / 100 if t < 100 else cosine


def adamw_step(adam: Adam, t: int, layers: list, gradients: list) -> list:
    """Return w1, b1, w2, b2 after step t."""
    adam.learning_rate = rate(t)
    # The decay first, and apart from the gradient: this is AdamW.
    decayed = [part * (1 - rate(t) * 0.1) for part in layers]
    return [
        adam((i, 0), part, gradient)
        for i, (part, gradient) in enumerate(
            zip(decayed, gradients, strict=True)
        )
    ]


@dataclass
class Replay:
    """What the formulas give, by epoch.

    Attributes:
        losses: the mean of the losses on the batches.
        held_out_losses: the loss on the held-out examples at the end.
        layers: w1, b1, w2, b2 at the end.
    """

    losses: list[float]
    held_out_losses: list[float]
    layers: list[list[np.ndarray]]


@pytest.fixture(scope="module")
def replay(uninterrupted_float64) -> Replay:
    """The float64 run again: its data, its first parameters, our formulas."""
    names = uninterrupted_float64.names
    held_out = names["parts"][1].indices
    held_out_x, held_out_y = (names[n][held_out].numpy() for n in ("x", "y"))
    teacher_and_model = uninterrupted_float64.initial
    layers = [part.T for layer in teacher_and_model[2:] for part in layer]

    adam, t, result = Adam(2e-2), 0, Replay([], [], [])
    names["generator"].manual_seed(0)
    for _ in range(EPOCHS):
        losses = []
        for x, y in names["train"]:
            loss, gradients = loss_and_gradients(x.numpy(), y.numpy(), layers)
            layers = adamw_step(adam, t, layers, clip(gradients, 1.0))
            losses.append(loss)
            t += 1
        held_out_loss, _ = loss_and_gradients(held_out_x, held_out_y, layers)
        result.losses.append(np.mean(losses))
        result.held_out_losses.append(held_out_loss)
        result.layers.append(layers)
    return result


def printed(result: Run, label: str) -> list[float]:
    """Return the number that each epoch's line has after a label."""
    pattern = re.compile(rf"epoch .*  {label} (\S+)")
    return [float(m[1]) for m in map(pattern.match, result.lines) if m]


def check_parameters(state: dict, layers: list[np.ndarray]) -> None:
    """Check the parameters of a state against w1, b1, w2, b2."""
    for part, expected in zip(state.values(), layers, strict=True):
        np.testing.assert_allclose(
            part.numpy().T, expected, rtol=1e-5, atol=1e-7
        )


def test_printed_losses_follow_the_formulas(
    uninterrupted_float64, replay
) -> None:
    losses = printed(uninterrupted_float64, "loss")
    np.testing.assert_allclose(losses, replay.losses, atol=6e-4)


def test_printed_held_out_losses_follow_the_formulas(
    uninterrupted_float64, replay
) -> None:
    losses = printed(uninterrupted_float64, "held-out")
    np.testing.assert_allclose(losses, replay.held_out_losses, atol=6e-4)


def test_last_parameters_follow_the_formulas(
    uninterrupted_float64, replay
) -> None:
    last_state = uninterrupted_float64.names["last_state"]
    check_parameters(last_state, replay.layers[-1])


def test_model_ends_with_the_parameters_of_the_lowest_held_out_loss(
    uninterrupted_float64, replay
) -> None:
    model = uninterrupted_float64.names["model"]
    best_epoch = np.argmin(replay.held_out_losses)
    check_parameters(model.state_dict(), replay.layers[best_epoch])


def test_targets_are_the_classes_of_the_teacher(uninterrupted_float64) -> None:
    teacher_and_model = uninterrupted_float64.initial
    (w1, b1), (w2, b2) = teacher_and_model[:2]
    x, y = (uninterrupted_float64.names[n].numpy() for n in ("x", "y"))
    outputs = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    assert np.array_equal(outputs.argmax(axis=1), y)


def test_accuracy_is_the_share_of_right_answers_on_the_test_set(
    uninterrupted,
) -> None:
    names = uninterrupted.names
    test_set = names["parts"][2].indices
    x, y = names["x"][test_set], names["y"][test_set]
    with torch.no_grad():
        right = (names["model"](x).argmax(dim=1) == y).float().mean()
    assert names["accuracy"] == pytest.approx(right.item())


# The loaders.


def examples(result: Run, loader: str) -> torch.Tensor:
    """Return the inputs that a loader gives in one epoch."""
    return torch.cat([x for x, _ in result.names[loader]])


def test_loaders_give_4000_2000_and_2000_examples(uninterrupted) -> None:
    loaders = ("train", "held_out", "test")
    sizes = [len(examples(uninterrupted, loader)) for loader in loaders]
    assert sizes == [4000, 2000, 2000]


def test_no_example_comes_twice_in_an_epoch_or_in_two_loaders(
    uninterrupted,
) -> None:
    loaders = ("train", "held_out", "test")
    together = torch.cat([examples(uninterrupted, name) for name in loaders])
    assert len(together.unique(dim=0)) == len(together)


def test_each_epoch_has_an_order_of_its_own(uninterrupted) -> None:
    first, second = (examples(uninterrupted, "train") for _ in range(2))
    assert not torch.equal(first, second)


# The modes.


def test_model_trains_in_training_mode(uninterrupted) -> None:
    modes = uninterrupted.names["training_modes"]
    assert modes == [True] * STEPS


def test_model_is_left_in_evaluation_mode(uninterrupted) -> None:
    assert not uninterrupted.names["model"].training


# bfloat16, and CUDA.


@pytest.fixture(scope="module")
def names_with_bfloat16(tmp_path_factory) -> dict:
    """What an epoch with bfloat16 leaves, on the CPU."""
    changes = ONE_EPOCH | BFLOAT16_ON | KEEP_Y_PRED
    return run_in(tmp_path_factory.mktemp("bfloat16"), changes=changes).names


def test_with_bfloat16_outputs_are_bfloat16(names_with_bfloat16) -> None:
    assert names_with_bfloat16["y_pred"].dtype == torch.bfloat16


def test_with_bfloat16_the_loss_is_float32(names_with_bfloat16) -> None:
    assert names_with_bfloat16["loss"].dtype == torch.float32


def test_with_bfloat16_parameters_are_float32(names_with_bfloat16) -> None:
    parameters = names_with_bfloat16["model"].parameters()
    assert {p.dtype for p in parameters} == {torch.float32}


def test_bfloat16_is_off_on_the_cpu_even_if_a_gpu_has_it(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _: True)
    names = run_in(tmp_path, changes=ONE_EPOCH).names
    assert names["use_bfloat16"] is False


@pytest.fixture(scope="module")
def names_on_cuda(cuda: str, tmp_path_factory) -> dict:
    return run_in(tmp_path_factory.mktemp("cuda"), device=cuda).names


def test_bfloat16_is_on_from_compute_capability_8_0(names_on_cuda) -> None:
    has_bfloat16 = torch.cuda.get_device_capability() >= (8, 0)
    assert names_on_cuda["use_bfloat16"] is has_bfloat16


def test_loss_is_computed_on_cuda(names_on_cuda) -> None:
    assert names_on_cuda["loss"].is_cuda


def test_learns_on_cuda(names_on_cuda) -> None:
    assert names_on_cuda["accuracy"] > 0.7


# Stopping and going on.


def stop_in(folder: Path, epoch: int, batch: int, changes: dict) -> Run:
    """Run the script in a folder, and stop it after a batch of an epoch."""
    save = "            unfinished.replace(path)\n"
    stop = (
        f"        if (epoch, batch) == ({epoch}, {batch}):\n"
        '            raise OSError("stopped")\n'
    )
    stopped = run_in(
        folder, changes=changes | {save: save + stop}, may_fail=True
    )
    assert stopped.stderr == ["OSError: stopped"]
    return stopped


def resume_in(folder: Path, changes: dict) -> Run:
    """Go on from the checkpoint in a folder, with no error and no warning."""
    resumed = run_in(folder, "--resume", changes=KEEP_LAST_STATE | changes)
    assert resumed.stderr == []
    return resumed


def resume_from(checkpoint: Path, folder: Path, changes: dict) -> Run:
    """Go on from a copy of a checkpoint."""
    shutil.copy(checkpoint, folder)
    return resume_in(folder, changes)


def same_parameters(one: Run, other: Run) -> bool:
    """Return whether two runs have the same parameters, bit for bit.

    Compares the last ones and the best; both runs need KEEP_LAST_STATE.
    """
    return all(
        torch.equal(part, other.names[name][key])
        for name in ("last_state", "best_state")
        for key, part in one.names[name].items()
    )


@dataclass
class Interrupted:
    """A run that was stopped, and the run that went on from there.

    Attributes:
        stop_epoch: the epoch in which it was stopped, from 0.
        checkpoint_epoch: the epoch of the checkpoint that it left, from 0.
        folder: where both ran.
    """

    stop_epoch: int
    checkpoint_epoch: int
    folder: Path
    stopped: Run
    resumed: Run


# Epoch and batch of the stop, and the epoch of the last checkpoint before it:
# there is one every 10 batches.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param((0, 10, 0), id="at-the-first-checkpoint"),
        pytest.param((7, 23, 7), id="within-an-epoch"),
        pytest.param((12, 40, 12), id="after-the-last-batch-of-an-epoch"),
        pytest.param((13, 3, 12), id="before-an-epoch-has-a-checkpoint"),
        pytest.param((29, 40, 29), id="after-the-very-last-batch"),
    ],
)
def interrupted(request, tmp_path_factory) -> Interrupted:
    epoch, batch, checkpoint_epoch = request.param
    folder = tmp_path_factory.mktemp("interrupted")
    stopped = stop_in(folder, epoch, batch, {})
    resumed = resume_in(folder, {})
    return Interrupted(epoch, checkpoint_epoch, folder, stopped, resumed)


def test_stopped_run_has_printed_the_epochs_before(
    interrupted, uninterrupted
) -> None:
    before = uninterrupted.lines[: interrupted.stop_epoch]
    assert interrupted.stopped.lines == before


def test_resumed_run_prints_the_lines_from_the_checkpoint_on(
    interrupted, uninterrupted
) -> None:
    rest = uninterrupted.lines[interrupted.checkpoint_epoch :]
    assert interrupted.resumed.lines == rest


def test_resumed_run_ends_with_the_same_parameters_to_the_bit(
    interrupted, uninterrupted
) -> None:
    assert same_parameters(interrupted.resumed, uninterrupted)


def test_resumed_run_leaves_no_file(interrupted) -> None:
    assert list(interrupted.folder.iterdir()) == []


def test_killed_process_resumed_prints_the_rest_and_leaves_no_file(
    uninterrupted, tmp_path
) -> None:
    command = [sys.executable, "-u", str(ROOT / SCRIPT)]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, **ENVIRONMENT},
        "encoding": "utf-8",
        "stdout": subprocess.PIPE,
    }
    with subprocess.Popen(command, **options) as process:
        before = [process.stdout.readline().rstrip() for _ in range(3)]
        process.kill()
    resumed = subprocess.run([*command, "--resume"], check=True, **options)

    assert before == uninterrupted.lines[:3]
    after = resumed.stdout.splitlines()
    # The third epoch's line again, if the fourth had no checkpoint yet.
    assert after[0] in uninterrupted.lines[2:]
    first = uninterrupted.lines.index(after[0])
    assert after == uninterrupted.lines[first:]
    assert list(tmp_path.iterdir()) == []


def test_interrupted_save_leaves_the_previous_checkpoint(
    tmp_path, monkeypatch
) -> None:
    save = torch.save

    def interrupted_save(state, path):
        save(state, path)
        epoch, batch, _ = state["place"]
        if (epoch, batch) == (1, 20):
            os.truncate(path, Path(path).stat().st_size // 2)
            raise OSError("interrupted")

    monkeypatch.setattr(torch, "save", interrupted_save)
    with pytest.raises(OSError, match="interrupted"):
        run_in(tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    epoch, batch, _ = state["place"]
    assert (epoch, batch) == (1, 10)


# The parts of a late checkpoint.

LOADED_AND_NEEDED = {
    "model": 'model.load_state_dict(state["model"])',
    "optimizer": 'optimizer.load_state_dict(state["optimizer"])',
    "schedule": 'schedule.load_state_dict(state["schedule"])',
    "generator": 'generator.set_state(state["generator"])',
    "place": 'first_epoch, batches_done, loss_sum = state["place"]',
    "best": 'best_loss, best_state = state["best"]',
}
RANDOM_STATE_NOT_LOADED = {'torch.set_rng_state(state["random"])': "pass"}
# Dropout draws from the random numbers that `random` is the state of.
DROPOUT = {"model = nn.Sequential(": "model = nn.Sequential(nn.Dropout(0.1), "}


@pytest.fixture(scope="module")
def checkpoint_of_epoch_28(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    stop_in(folder, 27, 15, {})
    return folder / CHECKPOINT


@pytest.fixture(scope="module")
def checkpoint_with_dropout(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stopped_with_dropout")
    stop_in(folder, 27, 15, DROPOUT)
    return folder / CHECKPOINT


@pytest.fixture(scope="module")
def uninterrupted_with_dropout(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("dropout")
    return run_in(folder, changes=KEEP_LAST_STATE | DROPOUT)


def test_checkpoint_has_only_parts_that_are_tested_here(
    checkpoint_of_epoch_28,
) -> None:
    state = torch.load(checkpoint_of_epoch_28, weights_only=True)
    assert set(state) == {*LOADED_AND_NEEDED, "random"}


@pytest.mark.parametrize("part", LOADED_AND_NEEDED)
def test_without_loading_this_part_the_end_differs(
    part, uninterrupted, checkpoint_of_epoch_28, tmp_path
) -> None:
    not_loaded = {LOADED_AND_NEEDED[part]: "pass"}
    resumed = resume_from(checkpoint_of_epoch_28, tmp_path, not_loaded)
    assert not same_parameters(resumed, uninterrupted)


def test_without_loading_the_random_state_the_end_is_the_same(
    uninterrupted, checkpoint_of_epoch_28, tmp_path
) -> None:
    resumed = resume_from(
        checkpoint_of_epoch_28, tmp_path, RANDOM_STATE_NOT_LOADED
    )
    assert same_parameters(resumed, uninterrupted)


def test_with_dropout_the_resumed_run_ends_the_same(
    uninterrupted_with_dropout, checkpoint_with_dropout, tmp_path
) -> None:
    resumed = resume_from(checkpoint_with_dropout, tmp_path, DROPOUT)
    assert same_parameters(resumed, uninterrupted_with_dropout)


def test_with_dropout_the_end_differs_without_the_random_state(
    uninterrupted_with_dropout, checkpoint_with_dropout, tmp_path
) -> None:
    resumed = resume_from(
        checkpoint_with_dropout, tmp_path, DROPOUT | RANDOM_STATE_NOT_LOADED
    )
    assert not same_parameters(resumed, uninterrupted_with_dropout)


# What each part is worth: the table of the page, a row a test. With one seed,
# the change must lie in the range of its row; with the page's ten seeds, its
# ends must be those of the row too:
# SEEDS=10 pytest -s -k range_of_the_page -o faulthandler_timeout=0

PAGE_SEEDS = 10
SEEDS = range(int(os.environ.get("SEEDS", "1")))
NO_CLIPPING = {"max_norm=1.0": "max_norm=math.inf"}


def on_test_set(changes: dict) -> np.ndarray:
    """Return the loss and the accuracy, in per cent, for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [run_in(folder, seed=s, changes=changes).names for s in SEEDS]
    return np.array([(r["test_loss"], 100 * r["accuracy"]) for r in runs])


def check_range(differences: np.ndarray, row: list[float]) -> None:
    """Check differences of loss and accuracy against a row of the page."""
    least_loss, most_loss, least_points, most_points = row
    losses, points = differences.T
    print(
        f"{losses.min():+.3f} to {losses.max():+.3f}, "
        f"{points.min():+.2f} to {points.max():+.2f}"
    )
    # Another machine rounds in another way: hence the margins.
    assert losses.min() > least_loss - 0.02
    assert losses.max() < most_loss + 0.02
    assert points.min() > least_points - 1
    assert points.max() < most_points + 1
    if len(SEEDS) == PAGE_SEEDS:
        assert losses.min() < least_loss + 0.02
        assert losses.max() > most_loss - 0.02
        assert points.min() < least_points + 1
        assert points.max() > most_points - 1


@pytest.fixture(scope="module")
def with_all_parts() -> np.ndarray:
    return on_test_set({})


def test_change_without_weight_decay_is_in_the_range_of_the_page(
    with_all_parts,
) -> None:
    row = says("| weight decay | +{} to +{} | {} to {} |")
    without = on_test_set({"weight_decay=0.1": "weight_decay=0.0"})
    check_range(without - with_all_parts, row)


def test_change_without_the_fall_of_the_rate_is_in_the_range_of_the_page(
    with_all_parts,
) -> None:
    row = says("| the fall of the rate | +{} to +{} | {} to {} |")
    cosine = "warm_up * (1 + math.cos(math.pi * t / steps)) / 2"
    without = on_test_set({cosine: "warm_up"})
    check_range(without - with_all_parts, row)


def test_change_without_the_warm_up_is_in_the_range_of_the_page(
    with_all_parts,
) -> None:
    row = says("| the warm-up | {} to +{} | {} to +{} |")
    without = on_test_set({"min((t + 1) / 100, 1)": "1"})
    check_range(without - with_all_parts, row)


def test_change_with_bfloat16_is_in_the_range_of_the_page(
    with_all_parts,
) -> None:
    row = says("| float32 (bfloat16 instead) | {} to +{} | {} to +{} |")
    with_bfloat16 = on_test_set(BFLOAT16_ON)
    check_range(with_bfloat16 - with_all_parts, row)


def test_change_with_the_last_epoch_is_in_the_range_of_the_page(
    with_all_parts,
) -> None:
    row = says("| the best epoch (the last instead) | {} to +{} | {} to +{} |")
    with_last = on_test_set({"model.load_state_dict(best_state)\n": ""})
    check_range(with_last - with_all_parts, row)


@pytest.fixture(scope="module")
def change_without_clipping(with_all_parts) -> np.ndarray:
    return on_test_set(NO_CLIPPING) - with_all_parts


@pytest.fixture(scope="module")
def change_without_clipping_if_broken() -> np.ndarray:
    """The change without clipping, if four training examples are broken."""
    (factor,) = says("if four training examples are {} times too large")
    parts = "[4000, 2000, 2000])\n"
    broken = {parts: f"{parts}x[parts[0].indices[:4]] *= {factor}\n"}
    return on_test_set(broken | NO_CLIPPING) - on_test_set(broken)


def test_change_without_clipping_is_in_the_range_of_the_page(
    change_without_clipping,
) -> None:
    row = says("| clipping | {} to +{} | {} to +{} |")
    check_range(change_without_clipping, row)


def test_change_without_clipping_on_broken_data_is_in_the_range_of_the_page(
    change_without_clipping_if_broken,
) -> None:
    _, *row = says(
        "| clipping, if four training examples are {} times too large "
        "| +{} to +{} | {} to {} |"
    )
    check_range(change_without_clipping_if_broken, row)


def test_clipping_gains_more_if_examples_are_broken(
    change_without_clipping, change_without_clipping_if_broken
) -> None:
    rise, _ = change_without_clipping.T
    rise_if_broken, _ = change_without_clipping_if_broken.T
    assert (rise_if_broken > rise).all()
