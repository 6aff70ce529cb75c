"""Every script learns whatever its seed is."""

import math

import pytest

from harness import SCRIPTS, needed_fall, run, uses


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_seed_reaches_the_threshold(script: str) -> None:
    # TensorFlow traces its graph anew for each run, so it takes five.
    seeds = range(1, 6 if uses(script, "tensorflow") else 21)
    first_losses = set()
    for seed in seeds:
        result = run(script, seed=seed)
        losses = list(result.losses.values())
        assert len(losses) == 11 and all(map(math.isfinite, losses)), seed
        assert result.fall >= needed_fall(script), seed
        first_losses.add(losses[0])
    assert len(first_losses) == len(seeds), (
        "the seeds did not reach the script"
    )
