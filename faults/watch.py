"""Watch a training loop, in up to five times its time, and name its faults.

with watch(model, optimizer, loss_fn) as findings:
    for t in range(20): ...  # your loop, as it is
"""

import re
from collections import Counter
from contextlib import contextmanager
from statistics import median

import torch
from torch import nn

# Each Tensor has a log. First, M: a parameter of the model, or L: in a list.
# Then, +: an optimizer holds it, -: none does, .: there is none. Then events.
# g: a gradient came, G: one was added to another, z: one came that is 0; s: a
# step began, e: with no gradient; m: the values moved, u: along the gradient.
LOGS = {
    r"M(\+([se]+|(z*e){3,})|\.(z{3,})?)": "No gradient: only None or 0 for {}",
    r".*[gG]e.*[gG]e.*": "Cleared too early: {}, between backward and step",
    r"L[-.][gGz]*[gG][gGz]*": "Not seen by the model: {} is not its parameter",
    r"M-[gGz]*[gG][gGz]*": "Not in the optimizer: {}, so it never moves",
    r"M\+[gGz]*[gG][gGz]*": "Nothing was stepped: no step() for {}",
    r".*mG+s?mG+s?m.*": "Gradients add up: those of {} are never cleared",
    r".\.[^m]*u[^m]*": "Uphill: {} moved along the gradient, not against it",
}
PASSES = 3  # fewer prove nothing: a last layer may start at 0
SMALL = 4e-5  # of the weights: it takes 25,000 such steps to change them
LARGE = 1  # of the weights: the first steps may be so large, not most
DEAD = 0.02  # of the numbers that come to a layer: fewer are not 0
SAME_SHAPES = nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss


def tensors(value):
    """Yield the Tensors of a module, list, tuple or dictionary."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, (dict, list, tuple)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from tensors(value[key])


class Watched:
    """A Tensor that is to learn, and its log."""

    def __init__(self, name, tensor, log):
        self.name, self.tensor, self.log = name, tensor, log
        self.start = self.before = tensor.detach().clone()
        self.passes, self.changes, self.gradient = 0, [], 0

    def empty(self):
        return self.tensor.grad is None or bool(self.tensor.grad.norm() == 0)

    def look(self, gradient=None):
        """Log a change, and a gradient about to be added to tensor.grad."""
        change = self.tensor.detach() - self.before
        rows = change.reshape(*change.shape[:1], -1).any(-1)
        if rows.any():  # few, in an embedding
            size = max(p[rows].norm() for p in (self.start, self.before))
            self.changes.append((change.norm() / size).item())
            up = self.log[1] == "." and (change * self.gradient).sum() > 0
            self.log += "u" if up else "m"
            self.before = self.tensor.detach().clone()
        if gradient is not None:
            self.passes, self.gradient = self.passes + 1, gradient.clone()
            came = "g" if self.empty() else "G"
            self.log += came if gradient.norm() != 0 else "z"


@contextmanager
def watch(model, optimizer=None, loss_fn=None):
    """Look on in a block. Leave out what you lack, list several optimizers."""
    given = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [o for o in given if o is not None]
    held = {id(p) for o in optimizers for p in tensors(o.param_groups)}
    own = {id(p): name for name, p in model.named_parameters()}
    names = {m: name or "model" for name, m in model.named_modules()}
    watched, seen, nan, findings = {}, Counter(), [], []
    for module, name in names.items():
        for key, value in vars(module).items():
            for p in tensors(value):
                if p.is_leaf and p.requires_grad and id(p) not in watched:
                    log = "M" if id(p) in own else "L"
                    log += "-+"[id(p) in held] if held else "."
                    place = own.get(id(p), f"{key} of {name}")
                    watched[id(p)] = Watched(place, p, log)
    names[loss_fn] = "loss_fn"

    def before_step(optimizer, args, kwargs):
        """Look for gradients; a closure, as of LBFGS, brings its own."""
        for p in tensors(optimizer.param_groups):
            if id(p) in watched:
                there = args[1:] or kwargs or not watched[id(p)].empty()
                watched[id(p)].log += "s" if there else "e"

    def called(module, ins, output):
        """Look at what came into a module, and at what came out of it."""
        ins, outs = [*tensors(ins)], [*tensors(output)]
        shapes = [tuple(x.shape) for x in ins]
        if isinstance(module, SAME_SHAPES) and len({*shapes}) == 2:
            seen[f"Different shapes: {shapes}"] += ins[1].numel() > 1
        outs = [y.detach() for y in outs if y.requires_grad]
        if module not in names or not outs:
            return
        x, y, name = (ins + outs)[0], outs[0], names[module]
        if not all((y < torch.inf).all() for y in outs):  # -inf may be a mask
            step = max(w.passes for w in watched.values())
            nan.append(f"Not a number: in step {step}, first out of `{name}`")
        dead = x.count_nonzero() < DEAD * x.numel() and x.requires_grad
        dead = dead and [*module.parameters(False)]  # a layer, as Linear
        seen[f"Dead ReLUs: hardly any but 0 come to `{name}`"] += bool(dead)
        if module is model and x.shape[:1] == y.shape[:1] > (1,):
            same = (y == y[0]).all() and (x != x[0]).any()
            seen["Same output: whatever the input"] += bool(same)

    hooks = [w.tensor.register_hook(w.look) for w in watched.values()]
    hooks += [o.register_step_pre_hook(before_step) for o in optimizers]
    hooks += [nn.modules.module.register_module_forward_hook(called)]
    try:
        yield findings
    finally:
        for hook in hooks:
            hook.remove()
        every = [*watched.values()]
        for w in every:
            w.look()
        passes = max((w.passes for w in every), default=0)
        lines = [s for s, n in seen.items() if PASSES <= n > passes / 2]
        still = r"(M(\.|\+[gGz]*s)[gGzs]*)+"
        still = re.fullmatch(still, "".join(w.log for w in every))
        found = {"No parameter moved: {}": every if still else []}
        for pattern, kind in LOGS.items():
            found[kind] = [w for w in every if re.fullmatch(pattern, w.log)]
        rated = [w for w in every if w.changes[3:] and w.tensor.dim() > 1]
        large = [w for w in rated if median(w.changes) > LARGE]
        found["Steps too large: {} change by more than their size"] = large
        if max((max(w.changes) for w in rated), default=1) < SMALL:
            found["Steps too small: {} change by less than 0.00004"] = rated
        for kind, those in found.items():
            if those and passes != 1:
                some = sorted({f"`{w.name}`" for w in those})
                some[3:] = ["..."] if some[3:] else []
                lines.append(kind.format(", ".join(some)))
        for line in nan[:1] + lines:
            entry = line.partition(":")[0].replace(" ", "-").lower()
            findings.append(f"{line} (faults/README.md#{entry})")
        print(f"watch: faults found: {len(findings)}", *findings, sep="\n")
