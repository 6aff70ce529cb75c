"""Loops for tests/test_watch.py: right ones, and ones with a fault each.

A loop is a function that is given watch and returns its findings. Those in
RIGHT have nothing wrong; FAULTS names the finding that each wrong one gets.
It finds nothing in the loops in MISSED, which are wrong too, and ALARMS names
what it finds in right ones: the limits that faults/README.md states.
"""

import copy
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

RIGHT, FAULTS, MISSED, ALARMS = {}, {}, {}, {}


def note_in(loops, kind=None):
    """Return a decorator that notes a loop, and the kind of its finding."""

    def note(loop):
        loops[loop] = kind
        return loop

    return note


right, missed = note_in(RIGHT), note_in(MISSED)
fault, alarm = partial(note_in, FAULTS), partial(note_in, ALARMS)


def line():
    """Return a Linear, inputs, and targets that a Linear can reach."""
    x = torch.randn(40, 3)
    return nn.Linear(3, 1), x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 1


def deep(D_out=2):
    """Return a net of four layers, inputs and targets."""
    layers = [nn.Linear(8, 20), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Linear(20, 20), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(20, D_out))
    return model, torch.randn(30, 8), torch.randn(30, D_out)


def images():
    """Return a small convolutional net, images and classes."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 5 * 5, 4),
    )
    return model, torch.rand(16, 1, 12, 12), torch.randint(4, (16,))


class Recurrent(nn.Module):
    """A recurrent layer, and a Linear on its last output."""

    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.recurrent = kind(5, 12, batch_first=True)
        self.last = nn.Linear(12, 1)

    def forward(self, x):
        outputs, _ = self.recurrent(x)
        return self.last(outputs[:, -1])


def sequences(kind=nn.LSTM):
    """Return a recurrent net, sequences, and the mean of each."""
    x = torch.randn(24, 7, 5)
    return Recurrent(kind), x, x.mean(dim=(1, 2))[:, None]


def adam(model, learning_rate=1e-2):
    return torch.optim.Adam(model.parameters(), lr=learning_rate)


def sgd(model, learning_rate=1e-2, **options):
    return torch.optim.SGD(model.parameters(), lr=learning_rate, **options)


def train(watch, model, optimizer, loss_fn, x, y, steps=20):
    """Take plain steps under watch, and return its findings."""
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(steps):
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return findings


# Right.


@right
def one_linear(watch):
    model, x, y = line()
    return train(watch, model, sgd(model, 0.1), nn.MSELoss(), x, y)


@right
def deep_net(watch):
    model, x, y = deep()
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def convolution(watch):
    model, x, y = images()
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@right
def lstm(watch):
    model, x, y = sequences()
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def gru(watch):
    model, x, y = sequences(nn.GRU)
    return train(watch, model, adam(model), nn.L1Loss(), x, y)


@right
def cleared_after_the_step(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    return findings


@right
def cleared_with_zeros(watch):
    model, x, y = deep()
    optimizer = sgd(model, momentum=0.9)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad(set_to_none=False)
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    return findings


@right
def gradients_summed_over_batches(watch):
    model, x, y = images()
    optimizer, loss_fn = adam(model), nn.CrossEntropyLoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(10):
            for part in range(4):
                here = slice(4 * part, 4 * part + 4)
                (loss_fn(model(x[here]), y[here]) / 4).backward()
            optimizer.step()
            optimizer.zero_grad()
    return findings


@right
def frozen_layers(watch):
    model, x, y = deep()
    model[:4].requires_grad_(False)
    optimizer = torch.optim.Adam(model[4:].parameters(), lr=1e-2)
    return train(watch, model, optimizer, nn.MSELoss(), x, y)


@right
def lbfgs(watch):
    model, x, y = line()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    loss_fn = nn.MSELoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(5):

            def closure():
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    return findings


@right
def warm_up_from_0(watch):
    model, x, y = deep()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 500)
    with watch(model, optimizer) as findings:
        for _ in range(10):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    return findings


@right
def in_eval_mode(watch):
    model, x, y = images()
    model = nn.Sequential(nn.BatchNorm2d(1), model).eval()
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@right
def dropout(watch):
    model, x, y = deep()
    model.insert(2, nn.Dropout(0.5))
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def shared_layer(watch):
    model, x, y = deep()
    model[4] = model[2]
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def two_optimizers(watch):
    model, x, y = deep()
    optimizers = [
        sgd(model[:4]),
        torch.optim.Adam(model[4:].parameters(), lr=1e-2),
    ]
    with watch(model, optimizers) as findings:
        for _ in range(20):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    return findings


@right
def generator_and_discriminator(watch):
    G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    D = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optimizers, loss_fn = [adam(G, 1e-3), adam(D, 1e-3)], nn.MSELoss()
    both, ones = nn.ModuleList([G, D]), torch.ones(32, 1)
    with watch(both, optimizers) as findings, watch(D, optimizers[1]) as of_D:
        for _ in range(20):
            real, fake = torch.randn(32, 2) + 2, G(torch.randn(32, 4))
            optimizers[1].zero_grad()
            loss = loss_fn(D(real), ones) + loss_fn(D(fake.detach()), 0 * ones)
            loss.backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            loss_fn(D(fake), ones).backward()
            optimizers[0].step()
    return findings + of_D


@right
def validation_in_between(watch):
    model, x, y = images()
    optimizer, loss_fn = adam(model), nn.CrossEntropyLoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(10):
            model.train()
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                loss_fn(model(x[:1]), y[:1])
    return findings


@right
def by_hand(watch, model=None):
    right_model, x, y = line()
    model = model or right_model
    with watch(model) as findings:
        for _ in range(20):
            model.zero_grad()
            torch.square(model(x) - y).mean().backward()
            with torch.no_grad():
                for param in model.parameters():
                    param -= 0.1 * param.grad
    return findings


@right
def scaled_loss_with_skipped_steps(watch):
    model, x, y = deep()
    optimizer, scaler = adam(model), torch.amp.GradScaler("cpu", 2.0**127)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            scaler.scale(F.mse_loss(model(x), y)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    return findings


@right
def embedding_with_sparse_gradients(watch):
    model = nn.EmbeddingBag(500, 2, sparse=True, mode="sum")
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=1e-2)
    x, y = torch.randint(500, (8, 3)), torch.randn(8, 2)
    return train(watch, model, optimizer, nn.MSELoss(), x, y)


@right
def batch_of_1_for_2_steps(watch):
    model, x, y = deep()
    return train(watch, model, adam(model), nn.MSELoss(), x[:1], y[:1], 2)


@right
def learnt_long_ago(watch):
    model, x, y = line()
    optimizer = sgd(model, 0.2)
    return train(watch, model, optimizer, nn.MSELoss(), x, y, 1000)


@right
def last_layer_begins_at_0(watch):
    model, x, y = deep()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


def begin_at_0(watch, steps):
    """Train with a last layer and a learning rate that begin at 0."""
    model, x, y = deep()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 9)
    with watch(model, optimizer) as findings:
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    return findings


@right
def begin_at_0_for_2_steps(watch):
    return begin_at_0(watch, 2)


@right
def begin_at_0_for_3_steps(watch):
    return begin_at_0(watch, 3)


@right
def lbfgs_cleared_after_the_step(watch):
    model, x, y = line()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    with watch(model, optimizer) as findings:
        for _ in range(6):

            def closure():
                optimizer.zero_grad()
                loss = F.mse_loss(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
            optimizer.zero_grad()
    return findings


@right
def one_example_a_step(watch):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid()
    )
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y, loss_fn = torch.tensor([[0.0], [1.0], [1.0], [0.0]]), nn.BCELoss()
    optimizer = sgd(model, 0.5)
    with watch(model, optimizer, loss_fn) as findings:
        for t in range(120):
            here = slice(t % 4, t % 4 + 1)
            optimizer.zero_grad()
            loss_fn(model(x[here]), y[here]).backward()
            optimizer.step()
    return findings


class Masked(nn.Module):
    """Scores with -inf for what must not be chosen."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        mask = torch.tensor([False, False, False, True])
        return self.linear(x).masked_fill(mask, -torch.inf)


@right
def masked_scores(watch):
    model, x, y = Masked(), torch.randn(30, 8), torch.randint(3, (30,))
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@right
def one_example_many_times(watch):
    model, x, y = deep()
    x, y = x[:1].expand(30, 8), y[:1].expand(30, 2)
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def one_target_for_all(watch):
    model, x, _ = line()
    return train(watch, model, sgd(model), nn.MSELoss(), x, torch.ones(1))


@right
def critic_and_generator(watch):
    G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    C = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optimizers = [adam(G, 1e-3), adam(C, 1e-3)]
    with watch(nn.ModuleList([G, C]), optimizers) as findings:
        for _ in range(20):
            real, fake = torch.randn(32, 2) + 2, G(torch.randn(32, 4))
            optimizers[1].zero_grad()
            # The last bias adds the same to both, so its gradient is 0 here.
            (C(fake.detach()).mean() - C(real).mean()).backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            (-C(fake).mean()).backward()
            optimizers[0].step()
    return findings


@right
def two_passes_a_step(watch):
    model, x, y = deep()
    optimizer = sgd(model, momentum=0.9)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            F.mse_loss(model(x), y).backward()
            weights = copy.deepcopy(model.state_dict())
            with torch.no_grad():
                for param in model.parameters():
                    param += 0.01 * param.grad
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            model.load_state_dict(weights)
            optimizer.step()
            optimizer.zero_grad()
    return findings


@right
def steps_inside_a_step(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            params = dict(model.named_parameters())
            loss = F.mse_loss(torch.func.functional_call(model, params, x), y)
            grads = torch.autograd.grad(
                loss, params.values(), create_graph=True
            )
            inner = {
                name: param - 0.01 * grad
                for (name, param), grad in zip(
                    params.items(), grads, strict=True
                )
            }
            optimizer.zero_grad()
            y_pred = torch.func.functional_call(model, inner, x)
            F.mse_loss(y_pred, y).backward()
            optimizer.step()
    return findings


@right
def averaged_copy_in_the_model(watch):
    online, x, _ = deep()
    average = copy.deepcopy(online)
    model = nn.ModuleList([online, average])
    optimizer = adam(online, 1e-3)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            with torch.no_grad():
                y = average(x)
            optimizer.zero_grad()
            noisy = x + 0.1 * torch.randn_like(x)
            F.mse_loss(online(noisy), y).backward()
            optimizer.step()
            with torch.no_grad():
                for name, param in average.named_parameters():
                    param.lerp_(online.get_parameter(name), 0.01)
    return findings


@right
def one_expert_a_step(watch):
    _, x, y = deep()
    experts = nn.ModuleList(nn.Linear(8, 2) for _ in range(6))
    optimizer = adam(experts)
    with watch(experts, optimizer) as findings:
        for _ in range(40):
            expert = experts[int(torch.randint(6, ()))]
            optimizer.zero_grad()
            F.mse_loss(expert(x), y).backward()
            optimizer.step()
    return findings


class Words(nn.Module):
    """Predicts the next word, with one weight at both ends."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(500, 24, padding_idx=0)
        self.recurrent = nn.GRU(24, 24, 2, batch_first=True, dropout=0.1)
        self.last = nn.Linear(24, 500, bias=False)
        self.last.weight = self.embedding.weight

    def forward(self, x, state):
        h, state = self.recurrent(self.embedding(x), state)
        return self.last(h).flatten(0, 1), state.detach()


@right
def tied_weights_and_a_kept_state(watch):
    model, state = Words(), None
    optimizer, loss_fn = sgd(model, 0.5), nn.CrossEntropyLoss(ignore_index=0)
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(20):
            words = torch.randint(500, (4, 9))
            y_pred, state = model(words[:, :-1], state)
            optimizer.zero_grad()
            loss_fn(y_pred, words[:, 1:].flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
    return findings


@right
def embedding_that_begins_at_0(watch):
    words, contexts = nn.Embedding(20000, 16), nn.Embedding(20000, 16)
    nn.init.zeros_(contexts.weight)
    model = nn.ModuleList([words, contexts])
    optimizer = sgd(model, 0.5)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            x, near, far = torch.randint(20000, (3, 64))
            score_near = (words(x) * contexts(near)).sum(-1)
            score_far = (words(x) * contexts(far)).sum(-1)
            optimizer.zero_grad()
            (F.softplus(-score_near) + F.softplus(score_far)).mean().backward()
            optimizer.step()
    return findings


@right
def frozen_features_in_eval_mode(watch):
    features = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()
    )
    model = nn.Sequential(features, nn.Linear(600, 4))
    features.requires_grad_(False).eval()
    _, x, y = images()
    optimizer = sgd(model[1], momentum=0.9)
    return train(watch, model, optimizer, nn.CrossEntropyLoss(), x, y)


@right
def reward_maximised(watch):
    model, x, y = line()
    optimizer = sgd(model, maximize=True)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            (-F.mse_loss(model(x), y)).backward()
            optimizer.step()
    return findings


@right
def few_rows_of_a_large_embedding(watch):
    model = nn.EmbeddingBag(100000, 2, sparse=True, mode="sum")
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=1e-3)
    x, y = torch.randint(100000, (8, 3)), torch.randn(8, 2)
    return train(watch, model, optimizer, nn.MSELoss(), x, y)


@right
def inputs_that_are_nearly_all_0(watch):
    x, y = (
        F.one_hot(torch.randint(100, (40,)), 100).float(),
        torch.randn(40, 1),
    )
    model = nn.Sequential(nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 1))
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@right
def one_step_by_hand_at_the_end(watch):
    model, x, y = line()
    with watch(model) as findings:
        for _ in range(8):
            (F.mse_loss(model(x), y) / 8).backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 0.1 * param.grad
    return findings


@right
def output_kept_by_the_model(watch):
    model, x, _ = line()
    model.kept = model(x)
    return by_hand(watch, model)


@right
def last_layer_stepped_by_hand(watch):
    model, x, y = deep()
    optimizer = adam(model[:-1])
    with watch(model, optimizer) as findings:
        for _ in range(20):
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            with torch.no_grad():
                for param in model[-1].parameters():
                    param -= 0.01 * param.grad
    return findings


@right
def gradients_of_each_example(watch):
    model, x, y = deep()
    optimizer = sgd(model)

    def loss_of(params, x, y):
        y_pred = torch.func.functional_call(model, params, (x[None],))
        return F.mse_loss(y_pred, y[None])

    of_each = torch.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))
    with watch(model, optimizer) as findings:
        for _ in range(20):
            params = {k: p.detach() for k, p in model.named_parameters()}
            grads = of_each(params, x, y)
            for name, param in model.named_parameters():
                param.grad = grads[name].mean(0)
            optimizer.step()
    return findings


@right
def gradients_put_into_grad(watch):
    model, x, y = deep()
    optimizer, params = adam(model), [*model.parameters()]
    with watch(model, optimizer) as findings:
        for _ in range(20):
            grads = torch.autograd.grad(F.mse_loss(model(x), y), params)
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
            optimizer.step()
    return findings


@right
def slope_at_0(watch):
    """Solve y' = y, y(0) = 1: the input 0 asks for a gradient."""
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = adam(model)
    start = torch.zeros(1, 1, requires_grad=True)
    x = torch.linspace(0, 1, 30)[:, None].requires_grad_()
    with watch(model, optimizer) as findings:
        for _ in range(20):
            y = model(x)
            (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            optimizer.zero_grad()
            loss = F.mse_loss(slope, y) + (model(start) - 1).square().sum()
            loss.backward()
            optimizer.step()
    return findings


@right
def complex_weights(watch):
    layers = [nn.Linear(4, 4, dtype=torch.cfloat) for _ in range(2)]
    model, x = nn.Sequential(*layers), torch.randn(9, 4, dtype=torch.cfloat)
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            (model(x) - x).abs().square().mean().backward()
            optimizer.step()
    return findings


@right
def compiled(watch):
    model, x, y = deep()
    model = torch.compile(model, backend="eager")
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


# Wrong.


@fault("Nothing was stepped")
def step_forgotten(watch):
    model, x, y = images()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
    return findings


@fault("Nothing was stepped")
def one_of_two_optimizers_forgotten(watch):
    model, x, y = deep()
    optimizers = [sgd(model[:4]), sgd(model[4:])]
    with watch(model, optimizers) as findings:
        for _ in range(20):
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizers[1].step()
    return findings


@fault("No gradient")
def backward_forgotten(watch):
    model, x, y = line()
    optimizer, loss_fn = sgd(model), nn.MSELoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            loss_fn(model(x), y)
            optimizer.step()
    return findings


@fault("No gradient")
def output_made_a_new_tensor(watch):
    model, x, y = sequences()
    optimizer, loss_fn = adam(model), nn.MSELoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(20):
            y_pred = torch.tensor(model(x).tolist(), requires_grad=True)
            optimizer.zero_grad()
            loss_fn(y_pred, y).backward()
            optimizer.step()
    return findings


@fault("No gradient")
def forward_under_no_grad(watch):
    model, x, y = images()
    optimizer, loss_fn = adam(model), nn.CrossEntropyLoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(20):
            with torch.no_grad():
                y_pred = model(x)
            optimizer.zero_grad()
            loss_fn(y_pred, y).requires_grad_().backward()
            optimizer.step()
    return findings


@fault("No gradient")
def layer_not_used(watch):
    model, x, y = sequences(nn.GRU)
    model.spare = nn.Linear(3, 3)
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@fault("No gradient")
def one_output_for_two_classes(watch):
    model, x, _ = line()
    y = torch.zeros(40, dtype=torch.long)
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@fault("No gradient")
def features_detached(watch):
    model, x, y = images()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            features = model[:4](x).detach()
            F.cross_entropy(model[4](features), y).backward()
            optimizer.step()
    return findings


@fault("Gradients add up")
def never_cleared(watch):
    model, x, y = sequences()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    return findings


@fault("Gradients add up")
def never_cleared_by_hand(watch):
    model, x, y = line()
    with watch(model) as findings:
        for _ in range(20):
            F.mse_loss(model(x), y).backward()
            with torch.no_grad():
                for param in model.parameters():
                    param -= 0.01 * param.grad
    return findings


@fault("Gradients add up")
def cleared_once_an_epoch(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for _ in range(3):
            optimizer.zero_grad()
            for _ in range(8):
                F.mse_loss(model(x), y).backward()
                optimizer.step()
    return findings


@fault("Cleared too early")
def cleared_before_the_step(watch):
    model, x, y = images()
    optimizer = sgd(model)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            F.cross_entropy(model(x), y).backward()
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
    return findings


@fault("Cleared too early")
def cleared_before_a_step_every_4_batches(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for t in range(20):
            (F.mse_loss(model(x), y) / 4).backward()
            if t % 4 == 3:
                optimizer.zero_grad()
                optimizer.step()
    return findings


@fault("Not in the optimizer")
def last_layer_replaced(watch):
    model, x, y = images()
    optimizer = adam(model)
    model[4] = copy.deepcopy(model[4])
    return train(watch, model, optimizer, nn.CrossEntropyLoss(), x, y)


@fault("Not seen by the model")
def layers_in_a_dictionary(watch):
    model, x, y = deep()
    head = nn.Linear(2, 2)
    model.heads = {"head": head}
    model.register_forward_hook(lambda module, args, output: head(output))
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


class Scale(nn.Module):
    """A product with a Tensor that is no Parameter."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.scale = torch.ones(1, requires_grad=True)

    def forward(self, x):
        return self.scale * self.linear(x)


@fault("Not seen by the model")
def tensor_for_a_parameter(watch):
    _, x, y = line()
    model = Scale()
    return train(watch, model, sgd(model), nn.MSELoss(), x, y)


@fault("No parameter moved")
def new_tensors_for_the_parameters(watch):
    model, x, y = sequences(nn.RNN)
    with watch(model) as findings:
        for _ in range(20):
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            with torch.no_grad():
                for param in model.parameters():
                    param = param - 0.1 * param.grad
    return findings


@fault("Different shapes")
def target_without_its_column(watch):
    model, x, y = sequences()
    return train(watch, model, adam(model), nn.HuberLoss(), x, y[:, 0])


@fault("Steps too large")
def rate_too_large(watch):
    model, x, y = line()
    return train(watch, model, sgd(model, 1.2), nn.MSELoss(), x, y)


@fault("Steps too small")
def rate_too_small(watch):
    model, x, y = images()
    optimizer = sgd(model, 1e-6)
    return train(watch, model, optimizer, nn.CrossEntropyLoss(), x, y)


@fault("Uphill")
def gradient_added(watch):
    model, x, y = line()
    with watch(model) as findings:
        for _ in range(20):
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            with torch.no_grad():
                for param in model.parameters():
                    param += 0.01 * param.grad
    return findings


@fault("Uphill")
def gradient_added_and_zeroed(watch):
    model, x, y = line()
    with watch(model) as findings:
        for _ in range(20):
            F.mse_loss(model(x), y).backward()
            with torch.no_grad():
                for param in model.parameters():
                    param += 0.01 * param.grad
                    param.grad.zero_()
    return findings


@fault("Not a number")
def root_of_0(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for t in range(20):
            optimizer.zero_grad()
            error = F.mse_loss(model(x), y) * (t != 7)
            error.sqrt().backward()
            optimizer.step()
    return findings


@fault("Not a number")
def rate_far_too_large(watch):
    model, x, y = deep()
    return train(watch, model, sgd(model, 1e3), nn.MSELoss(), x, y)


@fault("Dead ReLUs")
def biases_far_below_0(watch):
    model, x, y = deep()
    nn.init.constant_(model[2].bias, -50.0)
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@fault("Dead ReLUs")
def dead_convolution(watch):
    model, x, y = images()
    nn.init.constant_(model[0].bias, -9.0)
    return train(watch, model, sgd(model), nn.CrossEntropyLoss(), x, y)


@fault("Same output")
def saturated_outputs(watch):
    model, x, y = line()
    nn.init.constant_(model.bias, 200.0)
    model = nn.Sequential(model, nn.Sigmoid())
    return train(watch, model, sgd(model), nn.MSELoss(), x, y)


@fault("Same output")
def relu_on_the_output(watch):
    model, x, y = line()
    nn.init.constant_(model.bias, -200.0)
    model = nn.Sequential(model, nn.ReLU())
    return train(watch, model, sgd(model), nn.MSELoss(), x, y)


@fault("Same output")
def softmax_of_one_output(watch):
    model, x, y = deep(D_out=1)
    model.append(nn.Softmax(1))
    return train(watch, model, adam(model), nn.BCELoss(), x, (y > 0).float())


# Wrong, and not found.


@missed
def softmax_twice(watch):
    model, x, y = images()
    model.append(nn.Softmax(1))
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@missed
def sigmoid_twice(watch):
    model, x, y = line()
    model, y = nn.Sequential(model, nn.Sigmoid()), (y > 0).float()
    return train(watch, model, adam(model), nn.BCEWithLogitsLoss(), x, y)


@missed
def nothing_between_the_layers(watch):
    _, x, y = deep()
    model = nn.Sequential(nn.Linear(8, 20), nn.Linear(20, 2))
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@missed
def target_out_of_reach(watch):
    model, x, y = line()
    model = nn.Sequential(model, nn.Tanh())
    return train(watch, model, adam(model), nn.MSELoss(), x, 10 * y)


@missed
def raw_outputs_for_nll_loss(watch):
    model, x, y = images()
    return train(watch, model, adam(model), nn.NLLLoss(), x, y)


@missed
def forward_once_with_one_linear(watch):
    model, x, y = line()
    optimizer = sgd(model)
    with watch(model, optimizer) as findings:
        loss = F.mse_loss(model(x), y)
        for _ in range(20):
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            optimizer.step()
    return findings


@missed
def softmax_over_the_batch(watch):
    model, x, y = images()
    model.append(nn.LogSoftmax(0))
    return train(watch, model, adam(model), nn.NLLLoss(), x, y)


@missed
def frozen_by_mistake(watch):
    model, x, y = deep()
    model[0].requires_grad_(False)
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@missed
def inputs_shuffled_without_their_targets(watch):
    model, x, y = line()
    shuffled = x[torch.randperm(40)]
    return train(watch, model, sgd(model), nn.MSELoss(), shuffled, y)


@missed
def rate_lowered_after_every_batch(watch):
    model, x, y = deep()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    return findings


@missed
def rate_far_too_large_for_adam(watch):
    model, x, y = sequences()
    return train(watch, model, adam(model, 10.0), nn.MSELoss(), x, y)


@missed
def dead_relus_in_a_compiled_net(watch):
    model = nn.Sequential(nn.Linear(8, 100), nn.ReLU(), nn.Linear(100, 2))
    nn.init.constant_(model[0].bias.detach()[1:], -50.0)
    _, x, y = deep()
    model = torch.compile(model, backend="eager")
    return train(watch, model, adam(model), nn.MSELoss(), x, y)


@missed
def minus_before_the_loss(watch):
    model, x, y = images()
    optimizer, loss_fn = sgd(model), nn.CrossEntropyLoss()
    with watch(model, optimizer, loss_fn) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            (-loss_fn(model(x), y)).backward()
            optimizer.step()
    return findings


# Right, and taken for a fault.


@alarm("Steps too small")
def long_warm_up_to_a_small_rate(watch):
    model, x, y = deep()
    optimizer = adam(model, 2e-5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 500)
    with watch(model, optimizer) as findings:
        for _ in range(20):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    return findings


@alarm("Nothing was stepped")
def gradients_summed_over_more_than_the_block(watch):
    model, x, y = deep()
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for t in range(20):
            (F.mse_loss(model(x), y) / 32).backward()
            if t % 32 == 31:
                optimizer.step()
                optimizer.zero_grad()
    return findings


class Largest(nn.Module):
    """A row's few largest numbers, and 0 in place of the others."""

    def forward(self, h):
        values, places = h.topk(4)
        return torch.zeros_like(h).scatter(-1, places, values)


@alarm("Dead ReLUs")
def sparse_autoencoder(watch):
    x = torch.randn(30, 8)
    model = nn.Sequential(nn.Linear(8, 400), Largest(), nn.Linear(400, 8))
    return train(watch, model, adam(model), nn.MSELoss(), x, x)


@alarm("Dead ReLUs")
def short_texts_padded(watch):
    x = torch.zeros(16, 300, dtype=torch.long)
    x[:, :5] = torch.randint(1, 50, (16, 5))
    words = nn.Embedding(50, 8, padding_idx=0)
    model = nn.Sequential(words, nn.Flatten(), nn.Linear(2400, 2))
    y = torch.randint(2, (16,))
    return train(watch, model, adam(model), nn.CrossEntropyLoss(), x, y)


@alarm("Uphill")
def raised_by_hand(watch):
    model, x, y = line()
    with watch(model) as findings:
        for _ in range(20):
            model.zero_grad()
            (-F.mse_loss(model(x), y)).backward()
            with torch.no_grad():
                for param in model.parameters():
                    param += 0.01 * param.grad
    return findings


@alarm("Not in the optimizer")
def last_layer_alone_in_the_optimizer(watch):
    model, x, y = deep()
    return train(watch, model, adam(model[-1]), nn.MSELoss(), x, y)


@alarm("No gradient")
def layer_that_comes_later(watch):
    _, x, y = deep()
    model = nn.ModuleList(nn.Linear(8, 2) for _ in range(2))
    optimizer = adam(model)
    with watch(model, optimizer) as findings:
        for t in range(20):
            optimizer.zero_grad()
            F.mse_loss(model[t // 30](x), y).backward()
            optimizer.step()
    return findings
