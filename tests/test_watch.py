"""watch names the fault of a loop, and says nothing about a right one."""

import re
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import nn

from faults.watch import watch
from harness import captured, run
from make_outputs import FAULTS as FAULTS_OF_THE_PAGE
from make_outputs import ROOT, changed_script
from pages import says, sections
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
# What the main page tries on purpose: an output of no fault.
ON_PURPOSE = {"no_momentum"}

# PyTorch warns too where MSELoss and its like get different shapes, and that
# the hooks see a compiled net twice: itself, and the net in it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a target size"),
    pytest.mark.filterwarnings("ignore:Using `torch.compile"),
]


def kind(finding: str) -> str:
    """Return what a finding begins with."""
    return finding.partition(":")[0]


@cache
def findings_of(loop, seed: int = 0) -> list[str]:
    """Return what watch finds in a loop of tests/watch_cases.py."""
    torch.manual_seed(seed)
    return loop(watch)


def cases(loops: dict) -> pytest.MarkDecorator:
    """Return the mark that tries each loop with three seeds."""
    tried = [(loop, seed) for loop in loops for seed in range(3)]
    ids = [f"{loop.__name__}-{seed}" for loop, seed in tried]
    return pytest.mark.parametrize(("loop", "seed"), tried, ids=ids)


# The loops of tests/watch_cases.py.


@cases(RIGHT)
def test_nothing_is_wrong_with_a_right_loop(loop, seed) -> None:
    assert findings_of(loop, seed) == []


@cases(FAULTS)
def test_fault_of_a_loop_is_among_its_findings(loop, seed) -> None:
    assert FAULTS[loop] in map(kind, findings_of(loop, seed))


@cases(MISSED)
def test_missed_fault_gets_no_finding(loop, seed) -> None:
    assert findings_of(loop, seed) == []


@cases(ALARMS)
def test_false_alarm_gets_its_finding_and_no_other(loop, seed) -> None:
    assert [ALARMS[loop]] == [*map(kind, findings_of(loop, seed))]


def test_every_kind_of_finding_has_a_fault() -> None:
    source = (ROOT / "faults/watch.py").read_text("utf-8")
    kinds = set(re.findall(r'"([A-Z][\w ]*):', source))
    assert kinds == set(FAULTS.values()), (
        "faults/watch.py and tests/watch_cases.py differ in "
        f"{kinds ^ set(FAULTS.values())}; write a loop with that fault"
    )


@pytest.mark.parametrize("loop", FAULTS, ids=lambda loop: loop.__name__)
def test_finding_links_to_an_entry_of_the_page(loop) -> None:
    for finding in findings_of(loop):
        entry = kind(finding).lower().replace(" ", "-")
        assert entry in sections("faults/README.md")
        assert finding.endswith(f" (faults/README.md#{entry})")


# The scripts, and the faults of the page.


def under_watch(optimizer: str, steps: int, loop: str | None = None) -> dict:
    """Return the change that puts the loop of a script under watch.

    The with has two spaces less than what the loop holds, so that the rest of
    the script can stay as it is.
    """
    loop = loop or f"for t in range({STEP_COUNT}):"
    indent = loop[: len(loop) - len(loop.lstrip())]
    fewer = loop.strip().replace(f"range({STEP_COUNT})", f"range({steps})")
    watched = (
        f"{indent}from faults.watch import watch\n"
        f"{indent}with watch(model, {optimizer}, loss_fn) as findings:\n"
        f"{indent}  {fewer}"
    )
    return {loop: watched}


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
    result = run(script, changes=under_watch(optimizer, steps))
    assert result.names["findings"] == []


def test_nothing_is_wrong_with_the_net_that_learns() -> None:
    loop = f"    for _ in range({STEP_COUNT} // len(loader)):"
    changes = under_watch("optimizer", STEP_COUNT, loop)
    lines = run("further/learning_net.py", changes=changes).lines
    # It trains two nets, one after the other.
    assert lines.count("watch: faults found: 0") == 2


@pytest.mark.parametrize("fault", sorted(UNSEEN))
def test_unseen_fault_gets_no_finding(fault) -> None:
    changes = under_watch("optimizer", 20)
    result = run(f"faults/{fault}.diff", changes=changes)
    assert result.names["findings"] == []


@pytest.mark.parametrize("fault", PAGE)
def test_fault_of_the_page_gets_its_finding_and_no_other(fault) -> None:
    optimizer, expected = PAGE[fault]
    changes = under_watch(optimizer, 20)
    result = run(f"faults/{fault}.diff", changes=changes)
    assert [*map(kind, result.names["findings"])] == [expected]


def test_every_silent_fault_with_a_model_is_in_a_list() -> None:
    silent = set()
    for fault in FAULTS_OF_THE_PAGE:
        raised = any("Error: " in line for line in captured(fault).stderr)
        if changed_script(fault).startswith("nn/") and not raised:
            silent.add(Path(fault).stem)
    assert silent == PAGE.keys() | UNSEEN | ON_PURPOSE


# What a finding says.


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


def test_tensor_that_the_model_does_not_see_is_named_by_its_place() -> None:
    torch.manual_seed(0)
    model, x, y = line()
    model.scales = [torch.ones(1, requires_grad=True)]
    model.register_forward_hook(lambda module, args, y: y * model.scales[0])
    (finding,) = train(watch, model, sgd(model), nn.MSELoss(), x, y)
    assert finding.startswith("Not seen by the model: `scales of model` ")


def test_dead_relus_are_named_once_by_the_layer_that_they_come_to() -> None:
    torch.manual_seed(0)
    model, x, y = deep()
    nn.init.constant_(model[2].bias, -50.0)
    model = nn.Sequential(model[:4], model[4:])
    findings = train(watch, model, adam(model), nn.MSELoss(), x, y)
    (dead,) = [text for text in findings if kind(text) == "Dead ReLUs"]
    # A slice keeps the names of its layers: layer 4, in part 1.
    assert "`1.4`" in dead


def test_different_shapes_in_5_of_20_steps_are_no_finding() -> None:
    model, x, y = line()
    optimizer, loss_fn = sgd(model, 0.1), nn.MSELoss()
    with watch(model, optimizer, loss_fn) as findings:
        for t in range(20):
            optimizer.zero_grad()
            loss_fn(model(x), y[:, 0] if t < 5 else y).backward()
            optimizer.step()
    assert findings == []


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


def test_nan_may_come_out_of_the_loss_first() -> None:
    model, x, y = line()
    findings = train(watch, model, sgd(model), nn.MSELoss(), x, y / 0)
    assert "in step 0, first out of `loss_fn`" in findings[0]


def test_one_line_says_that_nothing_is_wrong(capsys) -> None:
    model, x, y = line()
    train(watch, model, sgd(model, 0.1), nn.MSELoss(), x, y)
    assert capsys.readouterr().out == "watch: faults found: 0\n"


# Errors, and what is no training.


def test_error_goes_on_and_the_findings_are_printed(capsys) -> None:
    model, x, y = line()
    optimizer = sgd(model)
    with pytest.raises(KeyError), watch(model, optimizer) as findings:
        for t in range(20):
            torch.square(model(x) - y).mean().backward()
            optimizer.step()
            if t == 10:
                raise KeyError
    assert [*map(kind, findings)] == ["Gradients add up"]
    assert findings[0] in capsys.readouterr().out


def test_error_in_the_first_step_is_not_taken_for_a_fault() -> None:
    model, x, _ = line()
    with pytest.raises(KeyError), watch(model, sgd(model)) as findings:
        torch.square(model(x)).mean().backward()
        raise KeyError
    assert findings == []


@pytest.mark.parametrize("has_optimizer", [True, False])
def test_validation_alone_has_no_fault(has_optimizer) -> None:
    model, x, y = line()
    optimizer = sgd(model) if has_optimizer else None
    with watch(model, optimizer, nn.MSELoss()) as findings, torch.no_grad():
        for _ in range(20):
            nn.MSELoss()(model(x), y)
    assert findings == []


def test_nan_is_named_where_nothing_is_to_learn() -> None:
    model, x, _ = line()
    model.requires_grad_(False)
    x.requires_grad_()
    with watch(model) as findings:
        model(x / 0)
    assert [*map(kind, findings)] == ["Not a number"]


# What watch costs, and what it leaves alone.


def losses_of(net, loss_fn, watched: bool, steps: int = 20) -> list[float]:
    """Return the losses of a net's first steps."""
    torch.manual_seed(0)
    model, optimizer, x, y = net()
    losses = []
    look = watch(model, optimizer, loss_fn) if watched else nullcontext()
    with look:
        for _ in range(steps):
            loss = loss_fn(model(x), y)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


def with_dropout(net):
    """Return what makes a net with dropout before it, and its optimizer."""

    def make():
        model, x, y = net()
        model = nn.Sequential(nn.Dropout(0.1), model)
        return model, adam(model), x, y

    return make


@pytest.mark.parametrize("loss_fn", [nn.MSELoss(), nn.L1Loss()])
@pytest.mark.parametrize("net", [line, deep, sequences])
def test_watched_loop_has_the_same_losses_to_the_last_bit(
    net, loss_fn
) -> None:
    # Dropout draws random numbers, so that watch must draw none.
    net = with_dropout(net)
    watched = losses_of(net, loss_fn, watched=True)
    assert watched == losses_of(net, loss_fn, watched=False)


def test_afterwards_nothing_is_watched() -> None:
    model, x, y = line()
    optimizer = sgd(model)
    train(watch, model, optimizer, nn.MSELoss(), x, y)
    assert not nn.modules.module._global_forward_hooks
    assert not model.weight._backward_hooks
    assert not optimizer._optimizer_step_post_hooks


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
    """Return how long 50 steps of a net take."""
    start = time.perf_counter()
    losses_of(net, nn.MSELoss(), watched, 50)
    return time.perf_counter() - start


@pytest.mark.parametrize("net", [tutorial_net, small_net])
def test_watched_step_takes_less_than_six_times_as_long(net) -> None:
    says("a step takes up to five times as long")
    ratios = [seconds(net, True) / seconds(net, False) for _ in range(5)]
    assert median(ratios) < 6


def test_watch_is_a_short_file_that_needs_pytorch_alone() -> None:
    lines = (ROOT / "faults/watch.py").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    imports = [
        text
        for text in lines
        if text.lstrip().startswith(("import ", "from "))
    ]
    modules = {text.split()[1] for text in imports}
    assert modules == {"collections", "contextlib", "torch"}
