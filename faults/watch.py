"""Watch a training loop for some steps, and name what is wrong with it.

    with watch(model, optimizer, loss_fn) as findings:
        for t in range(20):
            ...  # your loop, as it is

Without an optimizer: watch(model). Several optimizers go in a list.
"""

import re
from collections import Counter
from contextlib import contextmanager
from statistics import median

import torch
from torch import nn

# Each Tensor has a log. It begins with M for a parameter of the model, or L
# for what is in a list or the like; then + or - for held by an optimizer or
# not, or . if there is none. Then comes a letter for each event:
# g a gradient came, G one was added to another, z one came that is 0;
# s a step began, e one began without a gradient;
# m the values moved, u they moved along the gradient, n they became nan.
LOGS = {
    r"M.[zse]*": "No gradient: nothing, or only zeros, came to {}",
    r".*[gG]e.*[gG]e.*": "Cleared too early: {}, after backward, before step",
    r"L[-.][gGz]+": "Not seen by the model: {} is in a list, or no Parameter",
    r"M-[gGz]+": "Not in the optimizer: {} got gradients, and never moved",
    r"M\+[gGz]+": "Nothing was stepped: {} got gradients, and never moved",
    r".*n": "Not a number: nan or inf came into {}",
    r".*mG+s?mG+s?m.*": "Gradients add up: those of {} are never cleared",
    r".\.[^m]*u[^m]*": "Uphill: {} moved along the gradient, not against it",
}
PASSES = 3  # fewer prove nothing: a last layer may start at 0
SMALL = 4e-5  # of the weights: it takes 25,000 such steps to change them
LARGE = 1  # of the weights: the first steps may be so large, not most
SAME = 1e-6  # of the largest output: outputs that differ by less
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
        self.before, self.gradient = tensor.detach().clone(), 0
        self.passes, self.changes = 0, []

    def empty(self):
        return self.tensor.grad is None or bool(self.tensor.grad.norm() == 0)

    def look(self, gradient=None):
        """Log a change, and a gradient about to be added to tensor.grad."""
        change = self.tensor.detach() - self.before
        rows = change.reshape(*change.shape[:1], -1).any(-1)
        if rows.any():  # few, in an embedding
            size = change.norm() / self.before[rows].norm()
            self.changes.append(size.item())
            up = self.log[1] == "." and (change * self.gradient).sum() > 0
            self.log += "n" if size.isnan() else "u" if up else "m"
            self.before += change
        if gradient is not None:
            self.passes, self.gradient = self.passes + 1, gradient.clone()
            came = "g" if self.empty() else "G"
            self.log += came if gradient.norm() != 0 else "z"


@contextmanager
def watch(model, optimizer=None, loss_fn=None):
    """Note in hooks what happens in a block; at its end, judge and print."""
    optimizers = optimizer if isinstance(optimizer, list) else [optimizer]
    optimizers = [o for o in optimizers if o is not None]
    held = {id(p) for o in optimizers for p in tensors(o.param_groups)}
    own = {id(p): name for name, p in model.named_parameters()}
    names = {m: name or "the model" for name, m in model.named_modules()}
    watched, seen, nan, findings = {}, Counter(), [], []
    for module, name in names.items():
        for key, value in vars(module).items():
            for p in tensors(value):
                if p.is_leaf and p.requires_grad and id(p) not in watched:
                    log = "M" if id(p) in own else "L"
                    log += "-+"[id(p) in held] if held else "."
                    place = own.get(id(p), f"{key} of {name}")
                    watched[id(p)] = Watched(place, p, log)
    names[loss_fn] = "the loss"

    def step(optimizer, args, kwargs):
        """Look for gradients; a closure, as of LBFGS, brings its own."""
        for p in tensors(optimizer.param_groups):
            if id(p) in watched:
                there = args[1:] or kwargs or not watched[id(p)].empty()
                watched[id(p)].log += "s" if there else "e"

    def called(module, ins, output):
        """Look at what came into a module, and at what came out of it."""
        ins, outs = [*tensors(ins)], [*tensors(output)]
        if isinstance(module, SAME_SHAPES) and ins[1].numel() > 1:
            key = f"Different shapes: {[*ins[0].shape]}, {[*ins[1].shape]}"
            seen[key] += ins[0].shape != ins[1].shape
        outs = [y.detach() for y in outs if y.requires_grad]
        if module not in names or not outs:
            return
        x, y, name = (ins + outs)[0], outs[0], names[module]
        # In a model, -inf is no fault, but a mask.
        if not all(y.clamp(min=0).isfinite().all() for y in outs):
            nan.append(f"Not a number: first in the output of {name}")
        if [*module.parameters(False)]:
            dead = x.requires_grad and not x.any()
            seen[f"Dead ReLUs: 0 for all examples comes to {name}"] += dead
        if module is model and 1 < len(x) == len(y) and x.ne(x[0]).any():
            same = (y - y[0]).abs().max() <= SAME * y.abs().max()
            seen["Same output: whatever the input"] += bool(same)

    hooks = [w.tensor.register_hook(w.look) for w in watched.values()]
    hooks += [o.register_step_pre_hook(step) for o in optimizers]
    hooks += [nn.modules.module.register_module_forward_hook(called)]
    try:
        yield findings
    finally:
        for hook in hooks:
            hook.remove()
        every, kinds = [*watched.values()], {}
        for w in every:
            w.look()
            fits = [s for p, s in LOGS.items() if re.fullmatch(p, w.log)]
            kinds.setdefault((fits + [""])[0], []).append(w.name)
        passes = max((w.passes for w in every), default=0)
        rated = [w for w in every if w.changes[3:] and w.tensor.dim() > 1]
        names = [w.name for w in rated if median(w.changes) > LARGE]
        kinds["Steps too large: {}"] = names
        if max((max(w.changes) for w in rated), default=1) < SMALL:
            kinds["Steps too small: {}"] = [w.name for w in rated]
        findings += nan[:1]
        findings += [s for s, n in seen.items() if PASSES <= n > passes / 2]
        for sentence, found in kinds.items():
            if sentence and found:
                findings.append(sentence.format(", ".join(found[:3])))
        print(f"watch: {passes} passes, {len(findings) or 'nothing'} found")
        print(*findings, sep="\n")
