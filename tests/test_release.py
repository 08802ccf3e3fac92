"""What is handed out: the wheel's commands in an empty folder without a network, and what wheel and sdist hold."""
import copy, importlib.metadata, io, json, os, re, shutil, subprocess, sys, tarfile, time, tomllib, urllib.request
import zipfile
from pathlib import Path
import numpy as np, pytest, soundfile
from tools.readme import long_description
from tools.resolve import PYTHONS, TABLE, problems, wanted

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "latentspeech"
EXPRESSION = "Apache-2.0 AND MIT AND LicenseRef-CC-BY-SA"
# Runs before anything else in a new interpreter: no network, and nothing but the core's packages.
ALONE = """
import importlib.metadata as metadata, os, re, socket, sys
def no_network(*given, **more):
    raise OSError("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no_network
allowed = set(os.environ["ONLY"].split(",")) if os.environ.get("ONLY") else None
finders = list(sys.meta_path)
class Gate:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if allowed and top not in allowed and top not in sys.stdlib_module_names and not top.startswith("_"):
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
    def find_distributions(self, *given):
        for finder in finders:
            yield from getattr(finder, "find_distributions", lambda *given: ())(*given)
    def invalidate_caches(self):
        for finder in finders:
            getattr(finder, "invalidate_caches", lambda: None)()
sys.meta_path[:] = [Gate()]
"""


def run(*command, cwd=ROOT, **more):
    "Run a command."
    return subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, timeout=300, **more)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "Build the sdist, and the wheel from it, as an index would hand them out."
    folder = tmp_path_factory.mktemp("built")
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.decode().splitlines()
    if not files:
        pytest.skip("not a git checkout")
    copy = folder / "copy"
    for name in files:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for kind in ("sdist", "wheel"):
        code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(folder)!r}))"
        found = run(sys.executable, "-c", code, cwd=copy)
        assert found.returncode == 0, found.stderr.decode()[-1500:]
        if kind == "sdist":
            with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
                archive.extractall(folder / "sdist", filter="data")
            copy = next((folder / "sdist").iterdir())
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built, wheel):
    "Install the wheel into a folder of its own, beside the packages that are there."
    target = built / "site"
    found = run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check",
                "--target", target, wheel)
    assert found.returncode == 0, found.stderr.decode()
    (target / "sitecustomize.py").write_text(ALONE)
    return target


def core(wheel) -> set:
    "Name the distributions that the wheel's core brings, with all they bring."
    wanted, seen = [r for r in requirements(wheel) if "extra ==" not in r], set()
    while wanted:
        name, _, marker = wanted.pop().partition(";")
        name = re.match(r"[\w.-]+", name)[0].lower().replace("_", "-")
        if name in seen or "extra ==" in marker or re.search(r"win32|Windows|emscripten|cuda|python_version *< ",
                                                             marker):
            continue
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        seen.add(name)
        wanted += importlib.metadata.requires(name) or []
    return seen


def requirements(wheel) -> list:
    "List what a wheel requires."
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))).decode()
    return re.findall(r"^Requires-Dist: (.+)$", text, re.M)


@pytest.fixture(scope="module")
def packages(wheel):
    "Name what can be imported from the distributions that the core brings."
    brought = core(wheel)
    return {p for p, names in importlib.metadata.packages_distributions().items()
            if {n.lower().replace("_", "-") for n in names} & brought}


@pytest.fixture
def shell(installed, packages, tmp_path):
    "Return a function that runs the installed command in an empty folder, offline, beside the core's packages alone."
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "PYTHON", "TQDM"))}
    env |= dict(PYTHONPATH=str(installed), HOME=str(tmp_path / "home"),
                ONLY=",".join(packages | {"latentspeech", "sitecustomize", "pkg_resources"}))
    folder = tmp_path / "empty"
    folder.mkdir()
    def command(*words, stdin=b"", **more):
        found = run(sys.executable, "-m", "latentspeech.cli", *words, cwd=folder, input=stdin, env=env | more)
        assert b"Traceback" not in found.stderr, found.stderr.decode()
        return found
    command.folder, command.env = folder, env
    return command


# ---- the commands

def test_the_wheel_is_what_runs(shell, installed):
    assert shell("--version").stdout.decode().split() == ["latentspeech",
                                                          importlib.import_module("latentspeech").__version__]
    where = run(sys.executable, "-c", "import latentspeech; print(latentspeech.__file__)", cwd=shell.folder,
                env=shell.env)
    assert where.stdout.decode().startswith(str(installed))


def test_a_text_from_a_pipe_becomes_a_wav_in_a_pipe(shell):
    found = shell("speak", "-", "-o", "-", "-q", stdin="你好\n".encode())
    assert found.returncode == 0 and not found.stderr, found.stderr.decode()
    assert found.stdout[:4] == b"RIFF" and found.stdout[8:16] == b"WAVEfmt " and found.stdout[36:40] == b"data"
    sound, rate = soundfile.read(io.BytesIO(found.stdout))
    assert rate == 48_000 and len(sound) > 20_000 and np.abs(sound).max() > 0.01 and not list(shell.folder.iterdir())
    if shutil.which("file"):
        said = run("file", "-", input=found.stdout).stdout.decode()
        assert "WAVE audio" in said and "mono 48000 Hz" in said
    raw = shell("speak", "你好", "-o", "-", "--raw", "-q").stdout
    assert raw == found.stdout[44:]
    told = shell("speak", "你好", "-o", "-", "--json")
    assert told.stdout == found.stdout and json.loads(told.stderr)["pinyin"] == ["ni2", "hao3"]
    shell("speak", "你好", "-o", "a.wav", "-q")
    whole = soundfile.read(shell.folder / "a.wav")[0]
    assert len(whole) == len(sound) and np.abs(whole - sound).max() < 2e-3


@pytest.mark.parametrize("words", [["speak", "你好"], ["speak", "你好", "-o", "a.flac", "--json"],
                                   ["speak", "你好", "--judge", "--speaker", "male"], ["voices"], ["--help"],
                                   ["doctor", "--json"], ["completion", "bash"], ["experiment", "--help"],
                                   ["prepare", "--preset", "tiny", "--json"], ["bench", "--help"]],
                         ids=lambda w: " ".join(w[:3]))
def test_every_command_answers_with_the_core_alone(shell, words):
    found = shell(*words)
    assert found.returncode == 0 and found.stdout, (found.stdout + found.stderr).decode()
    assert not found.stderr
    if "--json" in words:
        json.loads(found.stdout)


def test_what_is_wrong_is_one_line_and_code_2(shell):
    (shell.folder / "t.txt").write_text("你好", "utf8")
    for words, hint in ((["speak", "t.txt"], "speak -f t.txt"), (["speak"], "one of"), (["export"], "--onnx"),
                        (["speak", "你好", "--preset", "nobody"], "no voice weights"),
                        (["train", "all", "--steps", "1", "--preset", "tiny"], "latentspeech[train]"),
                        (["export", "--onnx", "networks"], "latentspeech[onnx]"),
                        (["push", ".", "hf://somebody/voice"], "holds no"), (["evaluate", "--seeds", "0"], "--seeds"),
                        (["speak", "你好", "--threads", "-1"], "--threads"),
                        (["serve", "--port", "99999"], "65535"), (["speak", "你好", "-o", "a.xyz"], ".wav")):
        found = shell(*words)
        assert found.returncode == 2 and not found.stdout, (words, found.stdout, found.stderr)
        assert len(found.stderr.decode().strip().splitlines()) == 1 and hint in found.stderr.decode(), found.stderr


def test_a_player_gets_the_sound(shell, tmp_path):
    player = tmp_path / "bin/aplay"
    player.parent.mkdir()
    player.write_text('#!/bin/sh\nfor last; do :; done\ncp "$last" played.wav\n')
    player.chmod(0o755)
    path = f"{player.parent}{os.pathsep}{os.environ['PATH']}"
    found = shell("speak", "你好", "--play", "--threads", "1", "-q", PATH=path)
    assert found.returncode == 0 and not found.stdout + found.stderr, found.stderr.decode()
    assert (shell.folder / "played.wav").read_bytes() == (shell.folder / "speech.wav").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_the_wheel_serves_and_ends_when_it_is_told_to(shell):
    command = [sys.executable, "-m", "latentspeech.cli", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        url = re.search(rb"http://127\.0\.0\.1:\d+", process.stderr.readline())[0].decode()
        answer = urllib.request.urlopen(f"{url}/speak", json.dumps(dict(text="你好")).encode(), timeout=120).read()
        assert answer[:4] == b"RIFF" and len(answer) > 40_000
        process.terminate()
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and json.loads(told) == dict(served=1, refused=0, cut_off=0)
    finally:
        process.kill()


def test_no_command_is_forgotten_here():
    from latentspeech.cli import commands
    here = Path(__file__).read_text("utf8")
    assert not [f.__name__ for f in commands() if f'["{f.__name__}"' not in here and f'"{f.__name__}", "--' not in here]


def test_a_reader_that_leaves_and_a_console_of_another_alphabet(shell):
    if not shutil.which("head"):
        pytest.skip("no head")
    for words in ("--help", "doctor", "speak 你好 -o -"):
        line = f"set -o pipefail; '{sys.executable}' -m latentspeech.cli {words} | head -c 1 | wc -c"
        found = run("bash", "-c", line, cwd=shell.folder, env=shell.env)
        assert found.returncode == 0 and b"Error" not in found.stderr and b"Traceback" not in found.stderr, found.stderr
    for encoding in ("gbk", "ascii"):
        for words in (["speak", "你好"], ["voices"], ["--help"], ["speak", "你好", "--speaker", "小明"]):
            assert shell(*words, PYTHONIOENCODING=encoding).returncode == (2 if "小明" in words else 0)
        rows = json.loads(shell("voices", "--json", PYTHONIOENCODING=encoding).stdout)["rows"]
        assert {r["preset"] for r in rows} >= {"mini", "base"}


def test_an_interrupt_is_130_in_a_shell_too(shell):
    import signal
    (shell.folder / "long.txt").write_text("今天天气很好。" * 3000, "utf8")
    process = subprocess.Popen([sys.executable, "-m", "latentspeech.cli", "speak", "-f", "long.txt"], cwd=shell.folder,
                               env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               # a runner in the background hands down an ignored SIGINT, which a terminal never does
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    until = time.time() + 60
    while time.time() < until and not list(shell.folder.glob(".speech*")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.decode().strip() == "interrupted" and not out
    assert [p.name for p in shell.folder.iterdir()] == ["long.txt"]


# ---- what is handed out

def test_a_wheel_holds_the_code_and_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {i.filename: i.file_size for i in archive.infolist()}
        metadata = archive.read(next(n for n in sizes if n.endswith("/METADATA"))).decode()
        entry = archive.read(next(n for n in sizes if n.endswith("entry_points.txt"))).decode()
    wanted = {f"latentspeech/{p.relative_to(LIBRARY)}" for p in LIBRARY.rglob("*")
              if p.is_file() and p.suffix in (".py", ".json", ".txt", ".tsv", ".safetensors", ".md")}
    information = {n for n in sizes if ".dist-info/" in n}
    assert wanted == set(sizes) - information, wanted ^ (set(sizes) - information)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(sizes)} files, of which weights "
          f"{sum(s for n, s in sizes.items() if n.endswith('.safetensors')) / 1e6:.1f} MB")
    assert wheel.stat().st_size < 45e6 and "latentspeech = latentspeech.cli:main" in entry
    assert f"License-Expression: {EXPRESSION}" in metadata
    assert {Path(n).name for n in information if "/licenses/" in n} == {
        "LICENSE", "MIT.txt", "LicenseRef-CC-BY-SA.txt"}


def test_expression_cards_and_readme_tell_one_story():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    assert project["license"] == EXPRESSION
    names = set(re.split(r" AND ", EXPRESSION)) - {"Apache-2.0"}
    assert {p.stem for p in (ROOT / "LICENSES").glob("*.txt")} == names
    cards = [json.loads(p.read_text("utf8")) for p in (LIBRARY / "pretrained").glob("*.json")]
    texts = " ".join(c["licence"] for c in cards)
    assert "CC BY-SA" in texts and "research use" not in texts, "weights that ship are for everybody"
    for page in (ROOT / "README.md", LIBRARY / "pretrained/README.md"):
        assert "CC BY-SA" in page.read_text("utf8")
    for licence in (ROOT / "LICENSES").glob("LicenseRef*.txt"):
        assert "base" in licence.read_text("utf8")


def test_an_sdist_can_be_tested(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    top = next((built / "sdist").iterdir())
    print(f"{next(built.glob('*.tar.gz')).name}: {next(built.glob('*.tar.gz')).stat().st_size / 1e6:.1f} MB, "
          f"{len(names)} files")
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.decode().splitlines()
    wanted = {n for n in tracked if n.startswith(("tests/", "tools/", "demo/", "nbs/", "latentspeech/",
                                                  "data/results/"))
              and (ROOT / n).is_file()}
    assert wanted <= names, wanted - names
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "constraints.txt", "Makefile", "settings.ini"} <= names
    found = run(sys.executable, "-m", "pytest", "-q", "--collect-only", "--assert=plain", "-p", "no:cacheprovider",
                "tests", cwd=top, env={**os.environ, "PYTHONPATH": str(top)})
    assert found.returncode == 0, found.stdout.decode()[-1500:]


def test_the_long_description_stands_alone(wheel):
    made = long_description((ROOT / "README.md").read_text("utf8"))
    assert (ROOT / "README.package.md").read_text("utf8") == made, "run `make readme`"
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(n for n in archive.namelist()
                                 if n.endswith("/METADATA"))).decode().partition("\n\n")[2]
    links = re.findall(r"(?:\]\(|src=\"|href=\")([^)\"\s]+)", text)
    assert not [l for l in links if not l.startswith(("https://", "#", "mailto:"))] and "# LatentSpeech" in text


def test_the_core_is_light(wheel):
    def size(name):
        files = (f.locate() for f in importlib.metadata.files(name) or [])
        return sum(f.stat().st_size for f in files if f.exists())
    sizes = {name: size(name) / 1e6 for name in core(wheel)}
    print(", ".join(f"{n} {s:.0f} MB" for n, s in sorted(sizes.items(), key=lambda x: -x[1])[:6]),
          f"... in all {sum(sizes.values()):.0f} MB")
    assert not {"scipy", "numba", "matplotlib", "jupyterlab", "accelerate", "tensorboard"} & sizes.keys()
    assert sum(sizes.values()) - max(0, sizes["torch"] - 800) < 1100       # a CUDA torch is larger


def test_extras_are_those_that_are_promised(wheel):
    extras = {m for r in requirements(wheel) for m in re.findall(r"extra == .(\w+).", r)}
    assert extras == {"notebook", "train", "eval", "zh", "g2pw", "onnx", "hub", "datasets", "studio", "browser",
                      "docs", "dev"}
    assert all(r.startswith(("latentspeech[", "setuptools")) or ">=" in r or "==" in r or "<" in r
               for r in requirements(wheel))


def test_every_promised_python_has_wheels_of_all_that_is_needed():
    """Nothing is installed: pip chose once, `python -m tools.resolve` wrote it down; here it still has to fit."""
    table = json.loads(TABLE.read_text("utf8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    said = {c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)}
    assert said == set(PYTHONS) == set(table) and project["requires-python"] == f">={PYTHONS[0]}"
    assert not problems(table), problems(table)
    assert all(len(rows) > len(wanted()[""]) for rows in table.values())


@pytest.mark.parametrize("python, name, change, problem", [
    ("3.14", "numpy", dict(version="1.0"), "wants numpy"),
    ("3.12", "numpy", dict(version="9.9"), "constraints.txt pins"),
    ("3.13", "torch", dict(wheel="torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl"), "can't be installed"),
    ("3.13", "tqdm", dict(wheel="tqdm-4.70.1.tar.gz"), "can't be installed"),
    ("3.11", "jiwer", dict(requires_python=">=3.12"), "wants Python"),
    ("3.14", "jiwer", dict(requires=["nowhere>=1"]), "jiwer wants nowhere")])
def test_a_resolution_that_does_not_fit_is_told(python, name, change, problem):
    table = copy.deepcopy(json.loads(TABLE.read_text("utf8")))
    table[python][name].update(change)
    assert any(problem in line and line.startswith(python) for line in problems(table))


def test_metadata_of_a_release():
    import latentspeech
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf8")
    assert re.search(rf"^## \[?{re.escape(latentspeech.__version__)}\]?", changes, re.M)
    citation = (ROOT / "CITATION.cff").read_text("utf8")
    assert re.search(rf"^version: {re.escape(latentspeech.__version__)}$", citation, re.M) and "2412.08117" in citation
    assert project["urls"] and all(u.startswith("https://") and "example" not in u for u in project["urls"].values())
    assert [f"Programming Language :: Python :: 3.{n}" in project["classifiers"]
            for n in (11, 12, 13, 14)] == [True] * 4
    for name in ("CODE_OF_CONDUCT.md", "Dockerfile", ".devcontainer/devcontainer.json",
                 ".github/ISSUE_TEMPLATE/fault.md"):
        assert (ROOT / name).stat().st_size > 200, name
    json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf8"))


def test_the_containers_install_what_they_say():
    """No daemon builds them here: every instruction is read, and each file that is copied is there."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text("utf8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert lines[0].startswith("FROM python:3.") and {line.split()[0] for line in lines} == known
    ignored = (ROOT / ".dockerignore").read_text("utf8").splitlines()
    for *sources, _ in (line.split()[1:] for line in lines if line.startswith("COPY")):
        for name in sources:
            assert (ROOT / name).exists() and name not in ignored, name
    pins = (ROOT / "constraints.txt").read_text("utf8")
    torch = re.findall(r"--index-url https://download.pytorch.org/whl/cpu torch==(\S+)", text)
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf8"))
    torch += re.findall(r"--index-url https://download.pytorch.org/whl/cpu torch==(\S+)",
                        container["postCreateCommand"])
    assert len(torch) == 2 and all(f"torch=={version}\n" in pins for version in torch)
    for line in (line for line in lines if line.startswith(("ENTRYPOINT", "CMD"))):
        assert json.loads(line.partition(" ")[2])
    assert "-c constraints.txt" in text and lines[-3:][1].startswith("ENTRYPOINT") and "USER speaker" in lines
    assert re.search(r"make setup", container["postCreateCommand"]) and container["image"].endswith(":3.12")
