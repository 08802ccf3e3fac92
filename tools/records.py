"""Make records of data/results again by their own commands: `python -m tools.records FOLDER [record ...]`.

Commands run in FOLDER, two at a time. It holds what they name: `real`, `audio-cmn` and `magicdata-cs`, packed by
`latentspeech prepare --align`, and `reader`, which lesson 78 teaches. What is made is kept there: the same words go
on after an interruption. Nothing in data/results changes before all of it is there.
"""
import argparse, concurrent.futures, json, os, shlex, subprocess, sys, time
from pathlib import Path
from latentspeech.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "data/results"
# What new weights of `base` make stale, the longest first. Where one needs what another leaves behind, both follow
# each other.
BASE = (("70_train_autoencoder",), ("72_scaling_people", "72_scaling_people_short"), ("72_paper_table",),
        ("71_distillation", "71_student_test"), ("71_guidance_test",), ("71_train_latentspeech",), ("71_guidance",),
        ("78_phones",), ("71_guidance_plain",))


def make(name: str, folder: Path, threads: int) -> str:
    "Make one record in `folder` unless it is there; return why it can't be made, or an empty string."
    made, begun, log = (folder / "made" / (name + ending) for ending in (".json", ".begun.json", ".log"))
    if made.exists():
        return ""
    words = shlex.split(json.loads((RESULTS / f"{name}.json").read_text("utf8"))["command"])
    if words[0] != "latentspeech":
        return f"it was made by {words[0]!r}, not by a command of the library"
    started = time.monotonic()
    with open(log, "a", encoding="utf8") as told:
        code = subprocess.run([sys.executable, "-m", "latentspeech.cli", *words[1:], "--out", begun], cwd=folder,
                              stdout=told, stderr=subprocess.STDOUT,
                              env={"PYTHONPATH": str(ROOT), **os.environ, "OMP_NUM_THREADS": str(threads)}).returncode
    if code:
        return f"its command ended with code {code}: see {log}"
    begun.rename(made)
    print(f"{name}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    return ""


def make_chain(names: tuple, folder: Path, threads: int) -> dict:
    "Make records that need each other; return name -> why not, of the first that can't be made."
    for name in names:
        if why := make(name, folder, threads):
            return {name: why}
    return {}


def install(names: list, folder: Path):
    "Put what was made in the place of what is there, under the command that made both."
    for name in names:
        there, new = RESULTS / f"{name}.json", json.loads((folder / "made" / f"{name}.json").read_text("utf8"))
        new["command"] = json.loads(there.read_text("utf8"))["command"]
        write_atomically(there, (json.dumps(new, indent=1, ensure_ascii=False) + "\n").encode())


def main(argv: list | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the commands run and find what they name")
    parser.add_argument("records", nargs="*", help="without .json; none = those that new weights of base make stale")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="at a time")
    options = parser.parse_args(argv)
    chains = tuple((name,) for name in options.records) or BASE
    if unknown := [name for chain in chains for name in chain if not (RESULTS / f"{name}.json").exists()]:
        parser.error(f"no record {unknown[0]!r} in data/results")
    folder, threads = options.folder.resolve(), max(1, (os.cpu_count() or 1) // options.jobs)
    (folder / "made").mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        failed = list(pool.map(lambda chain: make_chain(chain, folder, threads), chains))
    reasons = {name: why for one in failed for name, why in one.items()}
    for name, why in reasons.items():
        print(f"{name} was not made: {why}", file=sys.stderr)
    if reasons:
        return 1
    install([name for chain in chains for name in chain], folder)
    print("The records are in data/results. What shows them comes next: see CONTRIBUTING.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
