"""Count the branches that tests take in what must never lose anything: `python -m tools.branches`.

Wants the package `coverage`, which nothing else here needs: `pip install coverage`. Each module's share of branches is
printed with the lines whose other way out no test took; below 90 % it ends with 1.
"""
import json, os, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("training", "weights", "shards", "latents", "corpora", "readers", "files")
FIRE = ("data", "error_paths", "fuzz", "gradients", "locks", "mounts", "ranks", "resume")
LEAST = 0.9
SETTINGS = """[run]
branch = True
parallel = True
patch = subprocess
data_file = {folder}/data
include = {files}
"""


def measure(folder: Path) -> dict:
    "Run the tests of the modules and of tests/fire, subprocesses included; return what coverage found."
    settings = folder / "settings"
    files = ",".join(str(ROOT / "latentspeech" / f"{name}.py") for name in MODULES)
    settings.write_text(SETTINGS.format(folder=folder, files=files), "utf8")
    coverage = [sys.executable, "-m", "coverage"]
    tests = [*(f"tests/test_{name}.py" for name in MODULES), *(f"tests/fire/test_{name}.py" for name in FIRE)]
    tests += ["tests/test_layouts.py", "tests/test_hub.py"]
    tests = [test for test in tests if (ROOT / test).exists()]
    options = [f"--rcfile={settings}"]
    done = subprocess.run([*coverage, "run", *options, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
                          cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    subprocess.run([*coverage, "combine", "-q", *options], cwd=ROOT, check=True)
    subprocess.run([*coverage, "json", "-q", *options, "-o", folder / "found.json"], cwd=ROOT, check=True)
    return json.loads((folder / "found.json").read_text("utf8")) | dict(code=done.returncode)


def shares(found: dict) -> dict[str, tuple]:
    "Return module -> branches taken, branches, lines where one was not taken."
    counted = {}
    for file, facts in sorted(found["files"].items()):
        missing = sorted({abs(start) for start, _ in facts["missing_branches"]})
        counted[Path(file).stem] = (facts["summary"]["covered_branches"], facts["summary"]["num_branches"], missing)
    return counted


def main() -> int:
    "Measure, and print a line for each module."
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    low = found["code"]
    for name, (taken, all_of_them, missing) in shares(found).items():
        share = taken / max(all_of_them, 1)
        low |= share < LEAST
        print(f"{name:10} {taken:4} of {all_of_them:4} branches, {share:.0%}  {' '.join(map(str, missing))}")
    return int(low > 0)


if __name__ == "__main__":
    sys.exit(main())
