"""Inject every fault that is known, as `make test-fire` does: a line for each kind, then `N passed, M failed`.

`python -m tools.fire --record` keeps the counts in data/results/fire.json, from which the front page has them. What
the tests said lies in out/test-fire.log.
"""
import argparse, json, os, re, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from tools.run_all import pytest_command

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tests" / "fire" / "rows.tsv"
RECORD = ROOT / "data" / "results" / "fire.json"
LOG = ROOT / "out" / "test-fire.log"
FULL = {"FIRE": "1", "FIRE_KILLS": "25", "FIRE_FUZZ": "400", "OMP_NUM_THREADS": "1"}


# what a test may say of itself after "counted: ", and what its number is called
COUNTED = dict(kills=r"(\d+) kills", calls=r"(\d+) trials", fuzz=r"(\d+) (?:cards|files)")


def rows() -> dict[str, list[str]]:
    "Return, for each kind of fault, the tests that show what becomes of it."
    lines = [l for l in ROWS.read_text("utf8").splitlines() if l and not l.startswith("#")]
    return {what: tests.split() for what, tests, *_ in (line.split("\t") for line in lines)}


def damaging() -> list[str]:
    "Return the tests of those kinds whose third column is `damages`: each of their cases is one."
    lines = [line.split("\t") for line in ROWS.read_text("utf8").splitlines() if not line.startswith("#")]
    return sorted({test for what, tests, *more in lines if more == ["damages"] for test in tests.split()})


def outcomes(report: Path) -> dict[str, str]:
    "Return test -> passed, failed or skipped, named as in the table."
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("classname").removeprefix("tests.").replace(".", "/") + ".py::" + case.get("name")
        name = re.sub(r"@[\w/.-]+$", "", name)   # the group whose tests share a process
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


def counts(lines: list[str],      # that tests printed
           found: dict[str, str]  # outcome of each test
           ) -> dict[str, int]:
    "Add up kills, system calls struck, fuzz cases and damages."
    told = {name: sum(int(n) for line in lines for n in re.findall(pattern, line))
            for name, pattern in COUNTED.items()}
    return told | dict(damages=shown(damaging(), found)[0])


def run_tests(report: Path, tests: list[str]) -> list[str]:
    "Run tests with everything asked for; return what they said, which stays in the log."
    command = [*pytest_command(report, tuple(tests)), "-rP"]   # what passed tells its counts, too
    command = ["loadgroup" if word == "loadfile" else word for word in command]
    LOG.parent.mkdir(exist_ok=True)
    with open(LOG, "w", encoding="utf8") as log:
        subprocess.run(command, cwd=ROOT, env={**os.environ, **FULL}, stdout=log, stderr=subprocess.STDOUT)
    return LOG.read_text("utf8", errors="replace").splitlines()


def named_tests(table: dict[str, list[str]]) -> list[str]:
    "Return what pytest is asked for: all of tests/fire, and what else the table names."
    tests = sorted({f"tests/{t.partition('[')[0]}" for tests in table.values() for t in tests} | {"tests/fire"})
    whole = [t for t in tests if "::" not in t]
    kept = [t for t in tests if not any(t != w and t.startswith((f"{w}/", f"{w}::")) for w in whole)]
    return sorted(kept, key=lambda test: test != "tests/fire")


def build_parser() -> argparse.ArgumentParser:
    "Return the parser of the command."
    parser = argparse.ArgumentParser(prog="python -m tools.fire", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="keep the counts in data/results/fire.json")
    return parser


def main() -> int:
    "Run the tests of the table; print a line for each kind, the counts, and the tally."
    given, table, began = build_parser().parse_args(), rows(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        said = run_tests(report, named_tests(table))
        if not report.exists():
            print(*said[-40:], "0 passed, 1 failed", sep="\n")
            return 1
        found = outcomes(report)
    lines = sorted({line for line in said if line.startswith("counted: ")})
    bad = 0
    for what, named in table.items():
        passed, failed = shown(named, found)
        bad += failed
        print(f"{'ok    ' if not failed else 'FAILED'} {passed:4}  {what}")
    print(*lines, sep="\n")
    failed = [name for name, kind in found.items() if kind == "failed"]
    if failed or bad:
        print(*said[-100:], *failed, sep="\n")
    bad, passed = max(bad, len(failed)), sum(kind == "passed" for kind in found.values())
    total = counts(lines, found)
    worked, wall = sum(os.times()[2:4]), time.monotonic() - began
    print("{kills} kills of real trainings, {calls} system calls that failed or were the last, {damages} damages, "
          "{fuzz} fuzzed cards and weights".format(**total))
    print(f"{len(table)} kinds of fault; {worked / 60:.1f} minutes of processor time, {wall / 60:.1f} by the clock")
    print(f"{passed} passed, {bad} failed")
    if given.record and not bad:
        facts = dict(command="python -m tools.fire --record", date=time.strftime("%Y-%m-%d"),
                     machine=f"{os.cpu_count()} cores", kinds=len(table), passed=passed, **total,
                     minutes=round(wall / 60, 1), processor_minutes=round(worked / 60, 1))
        RECORD.write_text(json.dumps(facts, indent=1) + "\n", "utf8")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
