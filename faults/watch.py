"""Watch a training loop, in up to five times its time, and name its faults."""

from collections import Counter, defaultdict
from contextlib import contextmanager

from torch import Tensor, compiler, func, inf, nn, optim

ENOUGH = 3  # times: fewer prove nothing, as a last layer may start at 0
SMALL = 4e-5  # of a weight's size: it takes 25,000 such steps to change it
DEAD = 0.02  # of the numbers that come to a layer: fewer are not 0
SAME_SHAPES = nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss


def inside(value, kind=Tensor):
    """Yield what is of a kind in a list, tuple, dictionary or module."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from inside(item, kind)


class Watched:
    """A Tensor that is to learn, and counts of what has happened to it."""

    def __init__(self, tensor, name):
        self.tensor, self.name = tensor, name
        self.start = self.before = tensor.detach().clone()
        self.last = 0  # the gradient that came last
        self.waits = False  # it is not all 0, and no step followed yet
        self.gradients = self.fresh = self.steps = self.late = 0
        self.changes = self.uphill = self.large = self.small = 0

    def grad_is_empty(self):
        return self.tensor.grad is None or bool(self.tensor.grad.norm() == 0)

    def see_gradient(self, gradient):
        """Count a gradient that backward() is about to add to grad."""
        self.see_change()
        self.waits = bool(gradient.norm() != 0)
        self.gradients += self.waits
        self.fresh += self.tensor.grad is self.last or self.grad_is_empty()
        self.last = gradient  # which is grad itself, if the loop puts it there

    def see_change(self):
        """Count a change, if the values are not those seen last."""
        change = self.tensor.detach() - self.before
        if change.any():
            self.changes += 1
            self.uphill += bool((change.conj() * self.last).real.sum() > 0)
            if change.dim() > 1:  # a weight, with a size that means something
                size = max(self.start.norm(), self.before.norm())
                rows = self.before[change.flatten(1).any(1)]  # that moved
                self.large += bool(change.norm() > size)  # a few may be
                self.small += bool(change.norm() < SMALL * rows.norm())
            self.before = self.tensor.detach().clone()


def faults_of(watched, passes, own, held):
    """Return the faults that the counts show, each with its Tensors."""
    found = defaultdict(list)
    for param in watched:
        param.see_change()  # that of the last step
        moved, chances = param.changes, param.steps if held else passes
        idle = param.gradients >= ENOUGH and not moved and not param.steps
        if chances >= ENOUGH and not moved and not param.gradients:
            found["No gradient: only None or 0 for {}"].append(param)
        if param.late > param.steps / 2:
            found["Cleared too early: {}, before step()"].append(param)
        if idle and param.tensor not in own:
            found["Not seen by the model: {} is not part of it"].append(param)
        elif idle and param.tensor in held:
            found["Nothing was stepped: no step() for {}"].append(param)
        elif idle and held:
            found["Not in the optimizer: {}, so it never moves"].append(param)
        if moved >= ENOUGH and param.fresh < moved / 2:
            found["Gradients add up: never cleared in {}"].append(param)
        if moved >= ENOUGH and param.uphill == moved and not held:
            found["Uphill: the gradient was added to {}"].append(param)
        if moved > ENOUGH and param.large > moved / 2:
            found["Steps too large: over 100 % of {}"].append(param)
    weights = [w for w in watched if w.tensor.dim() > 1 and w.changes > ENOUGH]
    if weights and all(w.small == w.changes for w in weights):
        found["Steps too small: under 0.004 % of {}"] = weights
    if passes >= ENOUGH and not found and not any(w.changes for w in watched):
        found["No parameter moved: {}"] = watched
    return found


@contextmanager
def watch(model, optimizer=None, loss_fn=None):
    """Watch a block. Leave out what you lack; list several optimizers."""
    optimizers = list(inside(optimizer, optim.Optimizer))
    held = {p for o in optimizers for p in inside(o.param_groups)}
    own = {p: name for name, p in model.named_parameters()}
    names = {m: name or "model" for name, m in model.named_modules()}
    watched, seen, found, findings = {}, Counter(), {}, []
    for module, place in names.items():
        for key, value in vars(module).items():
            for p in inside(value):
                if p.is_leaf and p.requires_grad and p not in watched:
                    watched[p] = Watched(p, own.get(p, f"{key} of {place}"))
    names[loss_fn] = "loss_fn"

    def after_step(optimizer, args, kwargs):
        for p in watched.keys() & inside(optimizer.param_groups):
            watched[p].steps += 1
            watched[p].late += watched[p].waits and watched[p].grad_is_empty()
            watched[p].waits = False

    def after_forward(module, args, output):
        ins = list(inside(args))
        outs = [y.detach().real for y in inside(output) if y.requires_grad]
        if compiler.is_compiling() or not outs:
            return
        x, *outs = map(func.debug_unwrap, (ins + outs)[:1] + outs)  # of vmap
        y, name = outs[0], names.get(module, "a module")
        if not found and not all((y < inf).all() for y in outs):  # -inf masks
            step = max((w.gradients for w in watched.values()), default=0)
            found[f"Not a number: in step {step}, first out of `{name}`"] = []
        shapes = [tuple(x.shape) for x in ins]
        if isinstance(module, SAME_SHAPES) and len(set(shapes)) == 2:
            seen[f"Different shapes: {shapes}"] += ins[1].numel() > 1
        if not x.is_leaf and list(module.parameters(recurse=False)):
            dead = x.count_nonzero() < DEAD * x.numel()
            seen[f"Dead ReLUs: hardly any but 0 come to `{name}`"] += int(dead)
        if module is model and x.shape[:1] == y.shape[:1] > (1,):
            same = (y == y[0]).all() and (x != x[0]).any()
            seen["Same output: whatever the input"] += int(same)

    hooks = [p.register_hook(w.see_gradient) for p, w in watched.items()]
    hooks += [o.register_step_post_hook(after_step) for o in optimizers]
    hooks += [nn.modules.module.register_module_forward_hook(after_forward)]
    try:
        yield findings
    finally:
        for hook in hooks:
            hook.remove()
        most = max((w.gradients for w in watched.values()), default=0)
        found |= {s: [] for s, n in seen.items() if n >= max(ENOUGH, most / 2)}
        found |= faults_of(watched.values(), most, own, held)
        for fault, params in found.items():
            some = sorted({f"`{param.name}`" for param in params})
            some[3:] = ["..."] if some[3:] else []
            line = fault.format(", ".join(some))
            entry = line.partition(":")[0].replace(" ", "-").lower()
            findings.append(f"{line} (faults/README.md#{entry})")
        print(f"watch: faults found: {len(findings)}", *findings, sep="\n")
