"""Build the environment that everything else runs in: `python -m tools.set_up .venv`.

Only the standard library: this runs before anything is installed. It makes the environment if there is none, installs
the pinned packages, tries the packages that want a C compiler, tells the notebooks' kernel to let waiting threads
sleep, and asks the doctor.
A torch that is already there (a CUDA set-up, say) is kept: its own version takes the place of the pin.
"""
import argparse, json, os, shutil, subprocess, sys, time
from pathlib import Path
from latentspeech.files import write_atomically   # it, too, needs the standard library alone

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "dev"   # which brings notebook, train, hub and zh
SOURCES = ("pesq", "pyworld", "pysptk")   # of the eval extra: what comes as source and wants a compiler
ASK_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
ASK_MODULES = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"


def say(*words):
    "Print a line that says who speaks."
    print("set-up:", *words, flush=True)


def run(*command, check=True, quiet=False):
    "Run a command; a failure ends the set-up unless `check` is off."
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) if quiet else {}
    result = subprocess.run([str(c) for c in command], cwd=ROOT, **output)
    if check and result.returncode:
        sys.exit(f"set-up: this command failed with code {result.returncode}: {' '.join(map(str, command))}\n"
                 "set-up: is there a network, or a folder of wheels that pip knows (PIP_FIND_LINKS)? Run `make "
                 "setup` again to go on.")
    return result


def make_environment(folder: Path) -> Path:
    "Make a virtual environment in `folder` unless one is there; return its interpreter."
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists():
        say(f"using the environment in {folder}")
        return python
    say(f"making {folder} with Python {sys.version.split()[0]}")
    if run(sys.executable, "-m", "venv", folder, check=False).returncode:
        sys.exit("set-up: this Python cannot make environments. Debian and Ubuntu: `apt-get install python3-venv`; "
                 "or name another one: `make setup PYTHON=python3.12`.")
    return python


def version_of(python: Path, package: str) -> str:
    "Return the version of an installed package without importing it, or an empty string."
    asked = subprocess.run([python, "-c", ASK_VERSION, package], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def constraints(python: Path, folder: Path) -> Path:
    "Return the pins to install with: the repository's own, but a torch that is there stands in for the pinned one."
    lines = (ROOT / "constraints.txt").read_text("utf8").splitlines()
    for package in ("torch", "torchaudio"):
        if not (found := version_of(python, package)):
            continue
        if tuple(map(int, found.split(".")[:2])) < (2, 11):
            sys.exit(f"set-up: {package} {found} is there, but 2.11 is needed. Update it, or build a fresh "
                     "environment: `make setup VENV=.venv`.")
        lines = [f"{package}=={found}" if line.split("==")[0] == package else line for line in lines]
    kept = folder / "constraints.txt"
    kept.write_text("\n".join(lines) + "\n", "utf8")
    return kept


def install(python: Path, folder: Path):
    "Install the package in place, with the tools that the notebooks and tests want."
    # What is never imported need not be compiled, and of 13,000 files most never are.
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "-q", "-c")
    pins = constraints(python, folder)
    say("installing the pinned packages; a first time takes a few minutes, most of it torch")
    run(*pip, pins, "setuptools", "wheel", "numpy", "Cython")
    say("building PESQ, WORLD and mel-cepstra (the `eval` extra) meanwhile")
    built = folder / "built"
    wheels = (python, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-build-isolation", "--no-deps",
              "-c", pins, "-w", built, *SOURCES)
    with subprocess.Popen([str(c) for c in wheels], cwd=ROOT, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL):
        run(*pip, pins, "--no-build-isolation", "-e", f".[{EXTRAS}]")
    if run(*pip, pins, "--no-build-isolation", *built.glob("*.whl"), "-e", ".[eval]", quiet=True,
           check=False).returncode:
        say("`eval` could not be built, so PESQ, F0 and mel-cepstral figures will say that they are missing; all "
            "the rest works.")
        say("to mend it: install a C compiler (Debian and Ubuntu: `apt-get install gcc python3-dev`), then "
            "`make setup` after removing", folder / "ready")
    shutil.rmtree(built, ignore_errors=True)


def install_extra(extra: str, *modules: str) -> bool:
    "Install an extra into this very environment unless its modules are there; say whether they are now."
    python, folder = Path(sys.executable), Path(sys.prefix)
    if run(python, "-c", ASK_MODULES, *modules, quiet=True, check=False).returncode == 0:
        return True
    print(f"{extra}: installing what it needs (once)", flush=True)
    return run(python, "-m", "pip", "install", "-q", "--no-build-isolation", "-c", constraints(python, folder), "-e",
               f".[{extra}]", check=False).returncode == 0


def install_kernel(python: Path, folder: Path):
    "Let the notebooks' kernel start with threads that sleep while they wait: torch reads this when it is loaded."
    quiet = ("--env", "GOMP_SPINCOUNT", "2000", "--env", "PYDEVD_DISABLE_FILE_VALIDATION", "1")
    run(python, "-m", "ipykernel", "install", "--prefix", folder, *quiet, quiet=True)


SETTINGS = {   # of JupyterLab
    "@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineNumbers": False, "lineWrap": True}},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    # A slider that is moved while a cell runs would draw in a thread of its own; matplotlib has one current figure.
    "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}


def completed(settings: dict, missing: dict) -> dict:
    "Return settings with what they don't say yet, at any depth; what they say stays."
    both = {key for key, value in missing.items() if isinstance(value, dict) and isinstance(settings.get(key), dict)}
    return missing | settings | {key: completed(settings[key], missing[key]) for key in both}


def settle_jupyterlab(folder: Path) -> Path:
    "Let JupyterLab fold long lines, ask for no news, and let sliders and cells take turns, unless told otherwise."
    file = folder / "share/jupyter/lab/settings/overrides.json"    # defaults: what a user sets in the menu goes before
    try:
        known = json.loads(file.read_text("utf8")) if file.exists() else {}
    except ValueError:
        known = None
    if not isinstance(known, dict):
        say(f"{file} holds no settings that can be read; it stays as it is")
    elif (settings := completed(known, SETTINGS)) != known:
        write_atomically(file, json.dumps(settings, indent=1) + "\n")
    return file


def main():
    "Build the environment that the shell names."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".venv"),
                        help="the environment to make or to complete")
    folder = parser.parse_args().folder
    started = time.time()
    python = make_environment(ROOT / folder)
    install(python, ROOT / folder)
    install_kernel(python, ROOT / folder)
    settle_jupyterlab(ROOT / folder)
    run(python.parent / "latentspeech", "doctor", check=False)
    (ROOT / folder / "ready").write_text("This file tells make that the set-up is done.\n")
    say(f"ready in {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
