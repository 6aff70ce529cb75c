"""The scripts, a line each: a new script gets its line here."""

from dataclasses import dataclass

# Each script takes so many steps and prints the loss of these.
STEP_COUNT = 500
STEPS = [*range(0, STEP_COUNT, 50), STEP_COUNT - 1]
LAST = STEPS[-1]


@dataclass(frozen=True)
class Script:
    """What the tests know of a script.

    Attributes:
        path: from the top of the repository.
        needs: the packages that it imports, beside Python's own.
        oracle: the computation of reference.py that its losses and its final
            parameters follow: "weights" (two matrices, gradient descent),
            "layers" (weights and biases, gradient descent), "adam",
            "momentum"; or the test that holds it to another one.
        fall: its first printed loss is at least this many times the last
            one (where the depth changes, the lowest one); None: it prints
            no loss.
    """

    path: str
    needs: str
    oracle: str
    fall: float | None


SCRIPTS = [
    Script("tensor/two_layer_net_numpy.py", "numpy", "weights", 1e9),
    Script("tensor/two_layer_net_tensor.py", "torch", "weights", 1e9),
    Script("autograd/two_layer_net_autograd.py", "torch", "weights", 1e9),
    Script(
        "autograd/two_layer_net_custom_function.py", "torch", "weights", 1e9
    ),
    Script("autograd/tf_two_layer_net.py", "tensorflow", "weights", 1e9),
    Script("nn/two_layer_net_nn.py", "torch", "layers", 1e5),
    Script("nn/two_layer_net_optim.py", "torch", "adam", 1e5),
    Script("nn/two_layer_net_module.py", "torch", "adam", 1e5),
    Script("nn/dynamic_net.py", "torch", "momentum", 50),
    Script("further/own_autograd.py", "numpy", "weights", 1e9),
    Script("further/compiled_net.py", "torch", "weights", 1e9),
    Script("further/tf_dynamic_net.py", "tensorflow", "momentum", 50),
    Script("further/keras_two_layer_net.py", "keras", "layers", 1e5),
    Script("further/distributed_net.py", "torch", "layers", 1e5),
    Script(
        "further/learning_net.py",
        "torch",
        "test_learning_net.py::test_follows_adam",
        20,
    ),
    Script(
        "further/training_loop.py",
        "torch",
        "test_training_loop.py::test_last_parameters_follow_the_formulas",
        None,
    ),
    Script(
        "further/costs.py",
        "numpy torch",
        "test_costs.py::test_every_way_makes_the_same_update",
        None,
    ),
]

# The oracles of reference.py; test_one_trajectory.py holds scripts to them.
ORACLES = ("weights", "layers", "adam", "momentum")
BY_PATH = {script.path: script for script in SCRIPTS}
# The nine of the tutorial, in its order.
NINE = [s.path for s in SCRIPTS if not s.path.startswith("further/")]
# Those that print losses.
TRAINING = [s.path for s in SCRIPTS if s.fall is not None]


def scripts_with(oracle: str) -> list[str]:
    """Return the paths of the scripts that follow an oracle."""
    return [s.path for s in SCRIPTS if s.oracle == oracle]


def needs(path: str, package: str) -> bool:
    """Return whether a script imports a package."""
    return package in BY_PATH[path].needs.split()
