"""Make records of data/results again by their own commands: `python -m tools.records FOLDER [record ...]`.

Commands run in FOLDER, two at a time, or alone where time is measured. FOLDER holds what they name: `real`,
`audio-cmn` and `magicdata-cs`, packed by `latentspeech prepare --align`, `reader`, which lesson 78 teaches, and
`judge-1`, a second judge of people. What is made is kept there, in a folder named by the weights that it was made
with: the same words go on after an interruption. Nothing in the checkout changes before all of it is there, whichever
of it is asked for by name; then records and weights change together.
"""
import argparse, concurrent.futures, hashlib, json, os, shlex, shutil, subprocess, sys, time
from pathlib import Path
from latentspeech.files import write_atomically
from latentspeech.weights import copy_weights

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "data/results"
SHIPPED = ROOT / "latentspeech/pretrained"
# They say how fast something is, or what they need was trained by the clock: nothing may run beside them.
ALONE = ("71_distillation", "71_guidance_test", "71_student_test")
# What new weights of `base` make stale, the longest first. Where one needs what another leaves behind, both follow
# each other.
BASE = (("70_train_autoencoder",), ("72_scaling_people", "72_scaling_people_short"), ("72_paper_table",),
        ("71_distillation", "71_student_test"), ("71_guidance_test",), ("71_train_latentspeech",), ("71_guidance",),
        ("53_judge_people",), ("78_phones",), ("71_guidance_plain",))


def checkout_with(weights: Path | None, folder: Path) -> tuple[Path, Path]:
    """Make a checkout in `folder` that ships other weights; return it and where its records go.

    Only the library is a copy: what else lies beside it is there by links. Without other weights it is this one.
    """
    checkout = folder / "checkout" if weights else ROOT
    if weights:
        shutil.rmtree(checkout, ignore_errors=True)
        shutil.copytree(ROOT / "latentspeech", checkout / "latentspeech", ignore=shutil.ignore_patterns("__pycache__"))
        for beside in ROOT.iterdir():
            if beside.name not in (".git", "latentspeech"):
                (checkout / beside.name).symlink_to(beside)
        put_weights(weights, checkout / "latentspeech/pretrained")
    cards = sorted((checkout / "latentspeech/pretrained").glob("*.json"))
    shas = " ".join(json.loads(card.read_text("utf8"))["sha256"] for card in cards)
    made = folder / f"made-{hashlib.sha256(shas.encode()).hexdigest()[:8]}"
    made.mkdir(parents=True, exist_ok=True)
    return checkout, made


def sets_in(weights: Path) -> list:
    "List the tensors in a folder of weights that take the place of shipped ones; beside each lies its card."
    return [path for path in sorted(weights.glob("*.safetensors")) if (SHIPPED / path.name).exists()]


def put_weights(weights: Path, folder: Path):
    "Let weights take the place of those in `folder`, set by set."
    for path in sets_in(weights):
        copy_weights(path, path.stem.rpartition("-")[2], folder)


def make(name: str, folder: Path, threads: int, checkout: Path, made: Path) -> str:
    "Make one record in `folder` unless it is there; return why it can't be made, or an empty string."
    done, begun, log = (made / (name + ending) for ending in (".json", ".begun.json", ".log"))
    if done.exists():
        return ""
    if checkout != ROOT and not begun.exists():   # what no new weights change is taken over
        shutil.copy(RESULTS / f"{name}.json", begun)
    words = shlex.split(json.loads((RESULTS / f"{name}.json").read_text("utf8"))["command"])
    if words[0] != "latentspeech":
        return f"it was made by {words[0]!r}, not by a command of the library"
    started = time.monotonic()
    with open(log, "a", encoding="utf8") as told:
        code = subprocess.run([sys.executable, "-m", "latentspeech.cli", *words[1:], "--out", begun], cwd=folder,
                              stdout=told, stderr=subprocess.STDOUT,
                              env={**os.environ, "PYTHONPATH": str(checkout),
                                   "OMP_NUM_THREADS": str(threads)}).returncode
    if code:
        return f"its command ended with code {code}: see {log}"
    begun.rename(done)
    print(f"{name}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    return ""


def make_chain(names: tuple, *where) -> dict:
    "Make records that need each other; return name -> why not, of the first that can't be made."
    for name in names:
        if why := make(name, *where):
            return {name: why}
    return {}


def install(names: list, made: Path, weights: Path | None = None):
    "Put what was made in the place of what is there, under the command that made both; weights before it."
    if weights:
        put_weights(weights, SHIPPED)
    for name in names:
        there, new = RESULTS / f"{name}.json", json.loads((made / f"{name}.json").read_text("utf8"))
        new["command"] = json.loads(there.read_text("utf8"))["command"]
        write_atomically(there, (json.dumps(new, indent=1, ensure_ascii=False) + "\n").encode())


def main(argv: list | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the commands run and find what they name")
    parser.add_argument("records", nargs="*", help="without .json; none = those that new weights of base make stale")
    parser.add_argument("--weights", type=Path, help="a folder of weights that are to ship, if they aren't there yet")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="at a time")
    options = parser.parse_args(argv)
    chains = tuple((name,) for name in options.records) or BASE
    if unknown := [name for chain in chains for name in chain if not (RESULTS / f"{name}.json").exists()]:
        parser.error(f"no record {unknown[0]!r} in data/results")
    if options.weights and not sets_in(options.weights):
        parser.error(f"{options.weights} holds no weights that could take the place of shipped ones")
    folder, threads = options.folder.resolve(), max(1, (os.cpu_count() or 1) // options.jobs)
    checkout, made = checkout_with(options.weights, folder)
    def make_one(chain):
        return make_chain(chain, folder, threads, checkout, made)
    failed = [make_one(chain) for chain in chains if set(chain) & set(ALONE)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        failed += pool.map(make_one, [chain for chain in chains if not set(chain) & set(ALONE)])
    reasons = {name: why for one in failed for name, why in one.items()}
    for name, why in reasons.items():
        print(f"{name} was not made: {why}", file=sys.stderr)
    if reasons:
        return 1
    names = [name for chain in (BASE if options.weights else chains) for name in chain]
    if missing := [name for name in names if not (made / f"{name}.json").exists()]:
        print(f"Nothing is put in place while these weights have no {', '.join(missing)}.")
        return 0
    install(names, made, options.weights)
    print("The records are in data/results. What shows them comes next: see CONTRIBUTING.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
