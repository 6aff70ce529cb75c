"""watch names the fault of a loop, and says nothing about a right one."""

import time
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import nn

from faults.watch import watch
from harness import captured, run
from make_outputs import FAULTS as FAULTS_OF_THE_PAGE
from make_outputs import ROOT, changed_script
from pages import says
from scripts import STEP_COUNT
from watch_cases import (
    ALARMS,
    FAULTS,
    MISSED,
    RIGHT,
    adam,
    deep,
    line,
    sequences,
    sgd,
    train,
)

# Each kind of finding, and the entry of faults/README.md that it links to.
ENTRIES = {
    "No gradient": "no-gradient",
    "Cleared too early": "cleared-too-early",
    "Not seen by the model": "not-seen-by-the-model",
    "Not in the optimizer": "not-in-the-optimizer",
    "Nothing was stepped": "nothing-was-stepped",
    "No parameter moved": "no-parameter-moved",
    "Gradients add up": "gradients-add-up",
    "Uphill": "uphill",
    "Steps too large": "steps-too-large",
    "Steps too small": "steps-too-small",
    "Different shapes": "different-shapes",
    "Dead ReLUs": "dead-relus",
    "Same output": "same-output",
    "Not a number": "not-a-number",
}
# The faults of the page that have a model, what they hold, and their finding.
PAGE = {
    "cleared_before_step": ("optimizer", "Cleared too early"),
    "gradients_not_cleared": ("optimizer", "Gradients add up"),
    "layer_in_list": ("optimizer", "Not seen by the model"),
    "loss_requires_grad": ("optimizer", "No gradient"),
    "mean_loss": ("None", "Steps too small"),
    "model_replaced": ("optimizer", "Not in the optimizer"),
    "parameter_assigned": ("None", "No parameter moved"),
    "target_into_mseloss": ("optimizer", "Different shapes"),
    "detached": ("optimizer", "No gradient"),
    "no_backward": ("optimizer", "No gradient"),
    "no_step": ("optimizer", "Nothing was stepped"),
    "rate_too_small": ("optimizer", "Steps too small"),
    "units_dead": ("optimizer", "Dead ReLUs"),
}
# No hook sees these: arithmetic between Tensors, and a layer of no module.
UNSEEN = {"target_broadcast", "layer_in_forward"}


def kinds(findings: list[str]) -> set[str]:
    """Return what the findings begin with."""
    return {finding.partition(":")[0] for finding in findings}


def under_watch(loop: str, optimizer: str, steps: str | None = None) -> dict:
    """Return the change that puts a loop of a script under watch."""
    indent = loop[: len(loop) - len(loop.lstrip())]
    inner = loop.strip()
    if steps:
        inner = inner.replace(f"range({STEP_COUNT})", f"range({steps})")
    # Two spaces more than the with: what the loop holds has four, as before.
    new = (
        f"{indent}from faults.watch import watch\n"
        f"{indent}with watch(model, {optimizer}, loss_fn) as findings:\n"
        f"{indent}  {inner}"
    )
    return {loop: new}


# PyTorch warns too where MSELoss and its like get different shapes.
pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")
LOOP = f"for t in range({STEP_COUNT}):"


@pytest.mark.parametrize("steps", [20, STEP_COUNT])
@pytest.mark.parametrize(
    ("script", "optimizer"),
    [
        ("nn/two_layer_net_nn.py", "None"),
        ("nn/two_layer_net_optim.py", "optimizer"),
        ("nn/two_layer_net_module.py", "optimizer"),
        ("nn/dynamic_net.py", "optimizer"),
    ],
)
def test_nothing_is_wrong_with_a_script(script, optimizer, steps) -> None:
    result = run(script, changes=under_watch(LOOP, optimizer, steps))
    assert result.names["findings"] == []


def test_nothing_is_wrong_with_the_net_that_learns() -> None:
    loop = f"    for _ in range({STEP_COUNT} // len(loader)):"
    changes = under_watch(loop, "optimizer")
    result = run("further/learning_net.py", changes=changes)
    assert result.names["findings"] == []


@pytest.mark.parametrize("fault", PAGE)
def test_fault_of_the_page_gets_its_finding_and_no_other(fault) -> None:
    optimizer, kind = PAGE[fault]
    changes = under_watch(LOOP, optimizer, 20)
    result = run(f"faults/{fault}.diff", changes=changes)
    assert kinds(result.names["findings"]) == {kind}


def test_every_silent_fault_with_a_model_is_named_or_missed() -> None:
    silent = set()
    for fault in FAULTS_OF_THE_PAGE:
        raised = any("Error: " in line for line in captured(fault).noted)
        if changed_script(fault).startswith("nn/") and not raised:
            silent.add(Path(fault).stem)
    # What the main page tries on purpose, and an output of no fault.
    assert silent - {"no_momentum"} == PAGE.keys() | UNSEEN


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loop", RIGHT, ids=lambda loop: loop.__name__)
def test_nothing_is_wrong_with_a_right_loop(loop, seed) -> None:
    torch.manual_seed(seed)
    assert loop(watch) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loop", FAULTS, ids=lambda loop: loop.__name__)
def test_fault_in_another_net_is_named(loop, seed) -> None:
    torch.manual_seed(seed)
    assert FAULTS[loop] in kinds(loop(watch))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loop", MISSED, ids=lambda loop: loop.__name__)
def test_fault_that_the_page_says_is_missed_is_missed(loop, seed) -> None:
    torch.manual_seed(seed)
    assert loop(watch) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loop", ALARMS, ids=lambda loop: loop.__name__)
def test_false_alarm_is_the_one_that_the_page_names(loop, seed) -> None:
    torch.manual_seed(seed)
    assert kinds(loop(watch)) == {ALARMS[loop]}


def test_three_names_are_shown_and_that_there_are_more() -> None:
    torch.manual_seed(0)
    model, x, y = deep()
    with watch(model, adam(model)) as findings:
        for _ in range(20):
            torch.square(model(x) - y).mean().backward()
    assert findings == [
        "Nothing was stepped: no step() for `0.bias`, `0.weight`, `2.bias`, "
        "... (faults/README.md#nothing-was-stepped)"
    ]


def test_finding_has_a_name_and_a_link() -> None:
    torch.manual_seed(0)
    model, x, y = sequences()
    optimizer = adam(model)
    model.last = nn.Linear(12, 1)
    (finding,) = train(watch, model, optimizer, nn.MSELoss(), x, y)
    assert finding == (
        "Not in the optimizer: `last.bias`, `last.weight`, so it never moves "
        "(faults/README.md#not-in-the-optimizer)"
    )


def test_each_kind_is_tried_and_links_to_its_entry() -> None:
    tried = set(FAULTS.values()) | {kind for _, kind in PAGE.values()}
    assert tried == set(ENTRIES)
    for loop in FAULTS:
        torch.manual_seed(0)
        for finding in loop(watch):
            entry = ENTRIES[finding.partition(":")[0]]
            assert finding.endswith(f" (faults/README.md#{entry})")


def test_nan_is_found_in_the_first_module_and_step() -> None:
    torch.manual_seed(0)
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for t in range(6):
            h = model[:2](x)
            if t == 4:
                h = h / 0
            optimizer.zero_grad()
            torch.square(model[2:](h) - y).mean().backward()
            optimizer.step()
    assert findings[0].startswith("Not a number: in step 4, first out of `2`")


def test_one_line_says_that_nothing_is_wrong(capsys) -> None:
    model, x, y = line()
    train(watch, model, sgd(model, 0.1), nn.MSELoss(), x, y)
    assert capsys.readouterr().out == "watch: faults found: 0\n"


def test_error_goes_on_and_the_findings_are_printed(capsys) -> None:
    model, x, y = line()
    optimizer = sgd(model)
    with pytest.raises(KeyError), watch(model, optimizer) as findings:
        for t in range(20):
            torch.square(model(x) - y).mean().backward()
            optimizer.step()
            if t == 10:
                raise KeyError
    assert kinds(findings) == {"Gradients add up"}
    assert findings[0] in capsys.readouterr().out


def test_error_in_the_first_step_is_not_taken_for_a_fault() -> None:
    model, x, _ = line()
    with pytest.raises(KeyError), watch(model, sgd(model)) as findings:
        torch.square(model(x)).mean().backward()
        raise KeyError
    assert findings == []


def test_validation_alone_has_no_fault() -> None:
    model, x, y = line()
    with watch(model, sgd(model), nn.MSELoss()) as findings, torch.no_grad():
        nn.MSELoss()(model(x), y)
    assert findings == []


def test_afterwards_nothing_is_watched() -> None:
    model, x, y = line()
    optimizer = sgd(model)
    findings = train(watch, model, optimizer, nn.MSELoss(), x, y)
    for _ in range(20):
        nn.MSELoss()(model(x), y.expand(40, 1)).backward()
        optimizer.step()
    assert not nn.modules.module._global_forward_hooks
    assert not model.weight._backward_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert findings == []


@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss"])
@pytest.mark.parametrize("net", [line, deep, sequences])
def test_watched_loop_computes_the_same(net, loss) -> None:
    losses = []
    for watched in (False, True):
        torch.manual_seed(0)
        model, x, y = net()
        model = nn.Sequential(nn.Dropout(0.1), model)
        loss_fn = getattr(nn, loss)()

        def note(module, ins, output, of=watched):
            losses.append((of, output.item()))

        loss_fn.register_forward_hook(note)
        optimizer = adam(model)
        if watched:
            train(watch, model, optimizer, loss_fn, x, y)
        else:
            for _ in range(20):
                value = loss_fn(model(x), y)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    seen = [value for of, value in losses if of]
    assert len(seen) == 20
    assert seen == [value for of, value in losses if not of]


def tutorial_net() -> tuple:
    """Return the tutorial's net with Adam, its inputs and its targets."""
    model = nn.Sequential(nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 10))
    x, y = torch.randn(64, 1000), torch.randn(64, 10)
    return model, adam(model, 1e-4), x, y


def small_net() -> tuple:
    """Return a net of little work, where watching weighs most."""
    model, x, y = deep()
    return model, sgd(model), x, y


def seconds(net, watched: bool) -> float:
    """Return how long some steps of a net take."""
    torch.manual_seed(0)
    model, optimizer, x, y = net()
    loss_fn = nn.MSELoss()
    start = time.perf_counter()
    if watched:
        train(watch, model, optimizer, loss_fn, x, y, 100)
    else:
        for _ in range(100):
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


@pytest.mark.parametrize("net", [tutorial_net, small_net])
def test_watched_step_takes_a_few_times_as_long(net) -> None:
    says("a step takes two to five times as long")
    ratios = [seconds(net, True) / seconds(net, False) for _ in range(5)]
    assert median(ratios) < 6


def test_watch_is_a_short_file_that_needs_pytorch_alone() -> None:
    lines = (ROOT / "faults/watch.py").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    imports = [text for text in lines if text.startswith(("import", "from"))]
    assert {text.split()[1].partition(".")[0] for text in imports} == {
        "collections",
        "contextlib",
        "torch",
    }
