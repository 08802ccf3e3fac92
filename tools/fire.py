"""Inject every fault that is known, as `make test-fire` does: a line for each kind, then `N passed, M failed`."""
import os, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from tools.run_all import pytest_command

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tests" / "fire" / "rows.tsv"
FULL = {"FIRE": "1", "FIRE_KILLS": "25", "FIRE_FUZZ": "400", "OMP_NUM_THREADS": "1"}


def rows() -> dict[str, list[str]]:
    "Return, for each kind of fault, the tests that show what becomes of it."
    lines = [l for l in ROWS.read_text("utf8").splitlines() if l and not l.startswith("#")]
    return {what: tests.split() for what, tests in (line.split("\t") for line in lines)}


def outcomes(report: Path) -> dict[str, str]:
    "Return test -> passed, failed or skipped, named as in the table."
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("classname").removeprefix("tests.").replace(".", "/") + ".py::" + case.get("name")
        bad = case.find("failure") is not None or case.find("error") is not None
        found[name] = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
    return found


def shown(tests: list[str], found: dict[str, str]) -> tuple[int, int]:
    "Return how many cases of some tests passed, and how many failed; one that found nothing to show has failed."
    passed = failed = 0
    for test in tests:
        kinds = [k for name, k in found.items() if name == test or name.startswith((f"{test}::", f"{test}["))]
        good = kinds.count("passed")
        passed, failed = passed + good, failed + kinds.count("failed") + (not good)
    return passed, failed


def main() -> int:
    "Run the tests of the table; print a line for each kind, the counts, and the tally."
    table, began = rows(), time.monotonic()
    tests = sorted({f"tests/{t.partition('[')[0]}" for tests in table.values() for t in tests} | {"tests/fire"})
    whole = [t for t in tests if "::" not in t]
    tests = [t for t in tests if "::" not in t or not any(t.startswith(w) for w in whole)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [*pytest_command(report, tuple(tests)), "-rP"]   # what passed tells its counts, too
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **FULL}, capture_output=True, text=True)
        if not report.exists():
            print(done.stdout[-3000:], done.stderr[-3000:], "0 passed, 1 failed", sep="\n")
            return 1
        found = outcomes(report)
    counts = [l for l in done.stdout.splitlines() if l.startswith("counted: ")]
    bad = 0
    for what, named in table.items():
        passed, failed = shown(named, found)
        bad += failed
        print(f"{'ok    ' if not failed else 'FAILED'} {passed:4}  {what}")
    print(*sorted(set(counts)), sep="\n")
    failed = [name for name, kind in found.items() if kind == "failed"]
    if failed or bad:
        print(done.stdout[-6000:])
    bad = max(bad, len(failed))
    worked, wall = sum(os.times()[2:4]), time.monotonic() - began
    print(f"{len(table)} kinds of fault; {worked / 60:.1f} minutes of processor time, {wall / 60:.1f} by the clock")
    print(f"{sum(k == 'passed' for k in found.values())} passed, {bad} failed")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
