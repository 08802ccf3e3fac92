"""Run every notebook and every test, or only the tests that are named; the last line is `N passed, M failed`."""
import os, re, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAST = re.compile(r"(\d+) passed, (\d+) failed")


def run_notebooks() -> tuple[int, int]:
    "Run the notebooks; return how many passed and failed."
    command = [sys.executable, "-m", "tools.run_notebooks", "--save", "out/test/nbs", "--json",
               "out/test/notebooks.json"]
    tally = (0, 1)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if match := LAST.fullmatch(line.strip()):
                tally = tuple(map(int, match.groups()))
            else:
                print(line, end="", flush=True)
    return tally if process.returncode == 0 or tally[1] else (tally[0], tally[1] + 1)


def pytest_command(report: Path, named: tuple) -> list[str]:
    "Write the command that runs tests in three processes, a file of them in one, and reports to `report`."
    command = [sys.executable, "-m", "pytest", *named, f"--junitxml={report}", "--durations=8", "-p",
               "no:cacheprovider"]
    try:
        import xdist
        # as the names are sorted: by number of tests the few that take minutes would come last, in one process
        # one more than there are cores here: many tests wait for processes of their own
        command += ["-n", str(min(3, (os.cpu_count() or 1) + 1)), "--dist", "loadfile", "--no-loadscope-reorder"]
    except ImportError:
        pass
    return command


def run_tests(report: Path, named: tuple = ("tests",)) -> tuple[int, int]:
    "Run pytest; return how many tests passed and failed (a skipped one is neither)."
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)   # or a run that dies would be told as the one before it
    command = pytest_command(report, named)
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
    if not report.exists():
        return 0, 1
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    total = {k: 0 for k in ("tests", "failures", "errors", "skipped")}
    for suite in suites:
        for key in total:
            total[key] += int(suite.get(key, 0))
    failed = total["failures"] + total["errors"]
    return total["tests"] - failed - total["skipped"], failed or int(code not in (0, 5))


def main() -> int:
    "Run everything and print the tally."
    if sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            passed, failed = run_tests(Path(folder) / "report.xml", tuple(sys.argv[1:]))
        print(f"{passed} passed, {failed} failed")
        return int(failed > 0)
    started, tallies = time.time(), []
    # Once, before two notebooks want it at the same time.
    subprocess.run([Path(sys.executable).parent / "latentspeech", "prepare", "--preset", "tiny"], cwd=ROOT,
                   stdout=subprocess.DEVNULL)
    print("notebooks, each whole on a fresh kernel", flush=True)
    tallies.append(run_notebooks())
    print(f"{tallies[0][0]} notebooks passed, {tallies[0][1]} failed, after {time.time() - started:.0f} s", flush=True)
    # Kept: who wants the suite faster finds there how long each test takes.
    tallies.append(run_tests(ROOT / "out/test/tests.xml"))
    print(f"all done after {time.time() - started:.0f} s")
    passed, failed = (sum(t[i] for t in tallies) for i in (0, 1))
    failed += passed + failed == 0
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
