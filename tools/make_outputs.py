"""Run the scripts and the faults, and keep what they print in outputs/.

    python tools/make_outputs.py                                  all of them
    python tools/make_outputs.py faults/no_mask.diff nn/dynamic_net.py  these

A fault is a small change to a script, made on purpose: faults/NAME.diff, as
git diff writes it, so that a reader can put it in with git apply. A fix starts
from the script with the fault and is called NAME.fix.diff; a fault that shows
on CUDA alone is called NAME.cuda.diff. No output of these two is kept.

Everything runs on the CPU and on one thread, so that the next run prints the
same. What is kept is what the reader sees: all that is printed, then the last
line of each warning and of the error. further/costs.py prints times, so it is
run only if it is named.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COSTS = "further/costs.py"
FOLDERS = ("tensor", "autograd", "nn", "further")
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).glob("*.py")
)
# A name without a dot: neither NAME.fix.diff nor NAME.cuda.diff.
FAULTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "faults").glob("*.diff")
    if "." not in path.stem
)
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
ENVIRONMENT = {
    **ONE_THREAD,
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
}
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


def changed_script(fault: str) -> str:
    """Return the path of the script that a fault changes."""
    diff = (ROOT / fault).read_text("utf-8")
    match = re.search(r"^--- a/(\S+)$", diff, re.MULTILINE)
    if match is None:
        raise ValueError(
            f"{fault} has no line '--- a/SCRIPT'; change the script and run: "
            f"git diff -U1 SCRIPT | tail -n +3 > {fault}"
        )
    return match[1]


def put_in(fault: str, folder: Path) -> Path:
    """Copy the script that a fault changes into a folder, with the fault.

    Returns the path of the changed copy.
    """
    script = changed_script(fault)
    copy = folder / script
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / script, copy)
    command = ["git", "apply", str(ROOT / fault)]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8"
    )
    if result.returncode:
        raise ValueError(
            f"{fault} does not fit {script}; change the script and run: "
            f"git diff -U1 {script} | tail -n +3 > {fault}\n{result.stderr}"
        )
    return copy


def run(name: str | Path, *options: str, **variables: str):
    """Run a script or a fault in a process and a folder of its own.

    Takes options of Python and environment variables beside ENVIRONMENT;
    returns exit code, standard output and standard error, (int, str, str).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = ROOT / name
        if path.suffix == ".diff":
            path = put_in(str(name), Path(folder))
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
    everything = [*SCRIPTS, *FAULTS]
    for name in sys.argv[1:] or [s for s in everything if s != COSTS]:
        if name not in everything:
            sys.exit(f"{name} is no script and no fault; name one of either")
        try:
            code, stdout, stderr = run(name)
        except ValueError as error:
            sys.exit(str(error))
        if code and name not in FAULTS:
            sys.exit(f"{name} failed; correct it, then run again:\n{stderr}")
        path = capture_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seen(stdout, stderr), "utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
