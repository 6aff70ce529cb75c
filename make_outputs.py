"""Run the scripts and the faults, and keep what they print in outputs/.

    python make_outputs.py                    all of them
    python make_outputs.py faults/no_mask.diff nn/dynamic_net.py    these

further/costs.py is run only if named; name it alone, as it takes times.

A fault is a change of a few lines to a script, made on purpose: a file
faults/NAME.diff. Its first line names the script. Hunks follow, each under a
line "@@ @@": lines of the script to find, with a space or a minus in front,
and lines to put there, with a space or a plus. A hunk fits in one place.
NAME.fix.diff is of the same form, but trains: the right way to do what the
fault tried. NAME.cuda.diff needs CUDA to go wrong. No output of these is kept.

Everything runs on the CPU and on one thread, so that the next run prints the
same. What is kept is what the reader sees: all that is printed, then the last
line of each warning and of the error.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COSTS = "further/costs.py"
SCRIPTS = sorted(
    f"{folder}/{path.name}"
    for folder in ("tensor", "autograd", "nn", "further")
    for path in (ROOT / folder).glob("*.py")
    if path != ROOT / COSTS
)
DIFFS = [path.name for path in (ROOT / "faults").glob("*.diff")]
FAULTS = sorted(f"faults/{name}" for name in DIFFS if name.count(".") == 1)
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "KERAS_BACKEND": "tensorflow",
}
ENVIRONMENT = {**SETTINGS, "CUDA_VISIBLE_DEVICES": ""}
# No environment variable hides Apple's MPS.
HIDE_MPS = """
import runpy, sys, torch
torch.accelerator.is_available = lambda: False
runpy.run_path(sys.argv[1], run_name="__main__")
"""
NOTED = re.compile(
    r"^(?:.*:\d+: )?((?:[\w.]+(?:Warning|Error): |WARNING:tensorflow:).*)",
    re.MULTILINE,
)
# What no two installations, or no two runs, have in common.
VARYING = re.compile(r" \(Triggered internally at .*?\)| at 0x[0-9a-f]+")


def capture_path(name: str) -> Path:
    """Return where the output of a script or a fault is kept."""
    return (ROOT / "outputs" / name).with_suffix(".txt")


def faulty(name: str) -> tuple[str, str]:
    """Return the script that a fault changes, and its source as changed."""
    head, *hunks = (ROOT / name).read_text("utf-8").split("@@ @@\n")
    script = head.removeprefix("--- ").strip()
    source = "\n" + (ROOT / script).read_text("utf-8")
    for number, hunk in enumerate(hunks, start=1):
        lines = hunk.splitlines()
        old, new = (
            "\n".join(["", *(x[1:] for x in lines if x[:1] != sign), ""])
            for sign in "+-"
        )
        if (places := source.count(old)) != 1:
            raise ValueError(
                f"{name}: hunk {number} fits {script} in {places} places; "
                "write lines that stand there once"
            )
        source = source.replace(old, new)
    return script, source[1:]


def run(name: str | Path, *options: str, **variables: str):
    """Run a script or a fault in a process and a folder of its own.

    Takes options of Python and environment variables beside ENVIRONMENT;
    returns exit code, standard output and standard error, (int, str, str).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = ROOT / name
        if path.suffix == ".diff":
            script, source = faulty(name)
            path = Path(folder, Path(script).name)
            path.write_text(source, "utf-8")
        command = [str(path)]
        if sys.platform == "darwin" and b"import torch" in path.read_bytes():
            command = ["-c", HIDE_MPS, *command]
        result = subprocess.run(
            [sys.executable, *options, *command],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT, **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=100,
        )
    return result.returncode, result.stdout, result.stderr


def seen(stdout: str, stderr: str) -> str:
    """Return what is kept of what a run printed."""
    noted = dict.fromkeys(NOTED.findall(VARYING.sub("", stderr)))
    return stdout + "".join(f"{line}\n" for line in noted)


def main() -> None:
    for name in sys.argv[1:] or [*SCRIPTS, *FAULTS]:
        if name not in [*SCRIPTS, COSTS, *FAULTS]:
            sys.exit(f"{name} is no script and no fault; name one of either")
        try:
            code, stdout, stderr = run(name)
        except ValueError as error:
            sys.exit(str(error))
        if code and name not in FAULTS:
            sys.exit(f"{name} failed; mend it, then run again:\n{stderr}")
        path = capture_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seen(stdout, stderr), "utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
