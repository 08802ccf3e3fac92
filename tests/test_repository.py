"""The repository keeps its own rules: modules stand alone, made files are up to date, nothing local leaks."""
import ast, os, re, shutil, subprocess, sys, tomllib
from importlib.metadata import distributions
from pathlib import Path
import nbformat, pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "latentspeech"
MODULES = sorted(".".join(p.relative_to(LIBRARY).with_suffix("").parts) for p in LIBRARY.rglob("*.py")
                 if not p.stem.startswith("_"))
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
SCRIPTS = sorted(p for folder in ("tests", "tools", "demo") for p in (ROOT / folder).rglob("*.py"))


def run(*command, cwd=ROOT, **options):
    "Run a command and return what it did; this very checkout is imported."
    env = {**os.environ, "PYTHONPATH": str(cwd), **options.pop("env", {})}
    return subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def tracked():
    "List the files that are, or would be, in git."
    found = run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    if found.returncode:
        pytest.skip("not a git checkout")
    return [p for p in (ROOT / n for n in found.stdout.splitlines()) if p.is_file()]


def source_of(path: Path) -> str:
    "Return the Python of a script, or of all code cells of a notebook, shell and magic lines left out."
    if path.suffix == ".py":
        return path.read_text("utf8")
    code = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    return re.sub(r"^( *)[!%].*$", r"\1pass", code, flags=re.M)


def tree_of(module: str) -> ast.Module:
    "Parse a module of the library."
    return ast.parse((LIBRARY / f"{module.replace('.', '/')}.py").read_text("utf8"))


def module_number():
    "Return module -> number of the notebook that makes it, as text."
    numbers = {}
    for path in NOTEBOOKS:
        if (name := re.search(r"^#\| *default_exp +([\w.]+)", source_of(path), re.M)) and path.stem[:2].isdigit():
            numbers[name[1]] = path.stem.split("_")[0]
    return numbers


def imports_of(tree: ast.Module, package: str = ""):
    "Yield (module of ours, name or None, alias) of each import; `package` is where a module of ours lies."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name.startswith("latentspeech."):
                    yield a.name.removeprefix("latentspeech."), None, a.asname or a.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[:len(package.split(".")) + 1 - node.level] if node.level else []
            where = ".".join(filter(None, [*above, node.module]))
            if not where.startswith("latentspeech"):
                continue
            for a in node.names:
                whole = f"{where}.{a.name}".removeprefix("latentspeech.")
                if whole in MODULES:
                    yield whole, None, a.asname or a.name
                else:
                    yield where.removeprefix("latentspeech").removeprefix("."), a.name, a.asname or a.name


# Each module is imported in a process of its own, forked from one that has torch: that takes longer than any of them.
ALONE = """
import importlib, os, random, socket, sys, traceback
import numpy, torch
def no_network(*a, **k):
    raise OSError("a module used the network while it was imported")
socket.socket.connect = no_network
def state():
    return [random.getstate(), numpy.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist(),
            torch.get_default_dtype(), torch.get_num_threads()]
def import_alone(module):
    random.seed(7)
    numpy.random.seed(7)
    torch.manual_seed(7)
    before = state()
    importlib.import_module(f"latentspeech.{module}")
    assert state() == before, "importing it changed a global seed, dtype or thread count"
    assert not torch.cuda.is_initialized(), "importing it initialised CUDA"
    libraries = open("/proc/self/maps").read() if sys.platform == "linux" else ""
    assert "espeak" not in libraries, "importing it loaded espeak"
for module in sys.argv[1:]:
    if not (child := os.fork()):
        sys.stdout = sys.stderr = open(module, "w")
        try:
            import_alone(module)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    if code := os.waitpid(child, 0)[1]:
        open(module, "a").write(f"it ended with {code}")
"""


@pytest.fixture(scope="module")
def imported_alone(tmp_path_factory):   # module -> all that was said while it was imported
    folder, home, before = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("home"), sorted(os.listdir(ROOT))
    result = run(sys.executable, "-c", ALONE, *MODULES, cwd=folder,
                 env={"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0 and not result.stdout, result.stderr[-1500:]
    assert sorted(os.listdir(ROOT)) == before and sorted(os.listdir(folder)) == sorted(MODULES)
    return {module: (folder / module).read_text() for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_alone_without_side_effects(module, imported_alone):
    assert not imported_alone[module]


def test_no_name_is_undefined():
    found = run(sys.executable, "-m", "pyflakes", "latentspeech", "tools", "tests", "demo")
    wrong = [l for l in (found.stdout + found.stderr).splitlines() if "undefined name" in l or "SyntaxError" in l
             or "invalid syntax" in l]
    assert not wrong and "No module" not in found.stderr, "\n".join(wrong) or found.stderr


def test_imports_run_downhill():
    numbers, uphill = module_number(), []
    assert set(MODULES) <= set(numbers), f"no notebook makes {sorted(set(MODULES) - set(numbers))}"
    for module in MODULES:
        package = f"latentspeech.{module}".rpartition(".")[0]
        for other, _, _ in imports_of(tree_of(module), package):
            if other and numbers.get(other, "99") >= numbers[module]:
                uphill.append(f"{module} imports {other}")
    assert not uphill


def test_no_private_name_crosses_modules():
    def private(name):
        return name and name.startswith("_") and not name.startswith("__")
    crossing = []
    for path in [*LIBRARY.rglob("[a-z]*.py"), *NOTEBOOKS, *SCRIPTS]:
        package = ".".join(path.relative_to(ROOT).parent.parts)
        tree, modules = ast.parse(source_of(path)), set()
        for other, name, alias in imports_of(tree, package):
            if private(name):
                crossing.append(f"{path.relative_to(ROOT)} imports {name} of {other}")
            if name is None:
                modules.add(alias)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr) and ast.unparse(node.value) in modules:
                crossing.append(f"{path.relative_to(ROOT)} uses {ast.unparse(node)}")
    assert not crossing, "\n".join(crossing)


def test_nothing_edits_the_path_of_imports():
    edits = []
    for path in [*LIBRARY.rglob("*.py"), *NOTEBOOKS, *SCRIPTS]:
        for node in ast.walk(ast.parse(source_of(path))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
                edits.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not edits, "\n".join(edits)


def test_ruff_finds_nothing():
    found = run(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_readme_says_what_the_front_page_says():
    result = run(sys.executable, "-m", "tools.readme", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_pictures_show_the_house_as_it_is():
    assert (result := run(sys.executable, "-m", "tools.diagram", "--check")).returncode == 0, result.stderr


def test_the_card_of_the_weights_shows_the_records():
    assert (result := run(sys.executable, "-m", "tools.card", "--check")).returncode == 0, result.stderr


def test_readme_links_lead_somewhere():
    links = re.findall(r"(?:\]\(|src=\"|href=\")(?!https?:|#|mailto:)([^)\"\s#]+)",
                       (ROOT / "README.md").read_text("utf8"))
    assert links and not [l for l in links if not (ROOT / l).exists()]


def copy_of_the_repository(folder: Path, *left_out: str) -> Path:
    "Copy the repository without what git ignores and what is named."
    local = {".venv", ".git", "out", "data", "build", "_docs", "_proc", "__pycache__", ".ipynb_checkpoints", *left_out}
    def ignore(_, names):
        return [n for n in names if n in local or n.endswith(".egg-info")]
    return Path(shutil.copytree(ROOT, folder / "copy", ignore=ignore))


def test_export_and_clean_leave_no_trace(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    def files():
        found = [copy / "settings.ini", copy / "pyproject.toml"]
        for folder in ("nbs", "latentspeech"):
            found += [p for p in (copy / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        return {p.relative_to(copy): p.read_bytes() for p in found}
    before, scripts = files(), Path(sys.executable).parent
    for command in ("nbdev_export", "nbdev_clean"):
        result = run(scripts / command, cwd=copy)
        assert result.returncode == 0, result.stderr[-1500:]
    after = files()
    assert not [str(k) for k in before.keys() | after.keys() if before.get(k) != after.get(k)]


def test_nothing_of_a_developers_machine_is_in_the_repository():
    local = re.compile("/" + r"work\b|\.\./" + r"shared\b|/home/\w+/|/ro" + r"ot/|/Users/\w+/|file"
                       + r"://|extra-index" + "-url|find" + "-links")
    allowed = re.compile(r"\.\./" + "shared/data")     # tests may use recordings there if they exist
    wrong = []
    for path in tracked():
        if path.suffix in (".safetensors", ".png", ".wav", ".mp3", ".flac", ".ogg"):
            continue
        for number, line in enumerate(path.read_text("utf8").splitlines(), 1):
            if path.parent.name == "tests":
                line = allowed.sub("", line)
            if path.suffix == ".ipynb":
                line = re.sub(r"[A-Za-z0-9+/=]{200,}", "", line)
            if (found := local.search(line)):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {found[0]}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_heavy():
    heavy = {str(p.relative_to(ROOT)): round(p.stat().st_size / 1e6, 2) for p in tracked()
             if p.stat().st_size > (20e6 if p.suffix == ".safetensors" else 0.6e6)}
    assert not heavy and sum(p.stat().st_size for p in (LIBRARY / "pretrained").glob("*")) < 40e6


def public_definitions(module: str):
    "Yield (name, node) of what a module offers: functions, patched methods, classes and their methods."
    def public(nodes):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return [n for n in nodes if isinstance(n, kinds) and not n.name.startswith("_")]
    for node in public(tree_of(module).body):
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{method.name}", method) for method in public(node.body))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_says_what_it_is(module):
    # `forward` is told by its class
    silent = [name for name, node in public_definitions(module)
              if name.split(".")[-1] != "forward" and not ast.get_docstring(node)]
    assert not silent


PICKLES = ("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_unpickled_or_evaluated(module):
    tree, wrong = tree_of(module), []
    for node in ast.walk(tree):
        names = [ast.unparse(node)] if isinstance(node, ast.Attribute) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
        wrong += [n for n in names if n.split(".")[0] in PICKLES and not n.endswith("Error")]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in ("eval", "exec", "os.system"):
            wrong.append(called)
        if called == "torch.load" and keywords.get("weights_only") != "True":
            wrong.append("torch.load without weights_only=True")
        if called in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False":
            wrong.append("np.load with pickles")
        if called == "yaml.load":
            wrong.append("yaml.load")
        if keywords.get("shell") == "True":
            wrong.append(f"{called} through a shell")
    assert not wrong


def project() -> dict:
    "Return the metadata of the package."
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]


def names_of(requirements) -> set:
    "Return the plain names of requirements."
    return {re.match(r"[\w.-]+", r)[0].lower().replace("-", "_") for r in requirements}


def imported_packages(node) -> set:
    "Return the packages that an import of others' code names."
    if isinstance(node, ast.Import):
        names = [a.name for a in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module]
    else:
        names = []
    imported = {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"latentspeech"}
    return {"pillow" if n == "PIL" else n for n in imported}   # the one whose package has another name


def test_what_is_imported_is_required():
    "The core by every module; what an extra brings by functions, and by experiments, which draw pictures."
    core, wrong = names_of(project()["dependencies"]), []
    everything = core.union(*map(names_of, project()["optional-dependencies"].values()))
    for module in MODULES:
        tree = tree_of(module)
        for node in ast.walk(tree):
            drawing = module.startswith("experiments.")
            allowed = core if node in tree.body and not drawing else everything
            wrong += [f"{module} imports {name}" for name in imported_packages(node) if name.lower() not in allowed]
    assert not wrong


def test_every_requirement_is_pinned_once():
    pins = [l for l in (ROOT / "constraints.txt").read_text("utf8").splitlines() if l and not l.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+-]+", l) for l in pins)
    wanted = names_of(project()["dependencies"]).union(*map(names_of, project()["optional-dependencies"].values()))
    wanted -= {"latentspeech"}   # an extra that holds others
    assert len(names_of(pins)) == len(pins) and wanted <= names_of(pins), wanted - names_of(pins)


def test_every_pin_admits_the_oldest_python_that_is_promised():
    "Debian 12 has Python 3.11.2: a pin that wants 3.11.5 would end its set-up with a riddle of pip's."
    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    pins = names_of(l for l in (ROOT / "constraints.txt").read_text("utf8").splitlines() if "==" in l)
    installed = {name: one.metadata for one in distributions() for name in names_of([one.metadata["Name"]])}
    wants = {name: installed[name]["Requires-Python"] or "" for name in pins & set(installed)}
    assert len(wants) > 50
    assert not {name: wanted for name, wanted in wants.items() if not SpecifierSet(wanted).contains(oldest)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_clean_and_light(path):
    notebook = nbformat.read(path, 4)
    assert path.stat().st_size <= 0.55e6
    assert not [i for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.execution_count is not None]
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert re.search(r"^# ", prose, re.M), "a title is missing"
    assert re.search(r"^> ", prose, re.M), "a one-sentence claim is missing"
    wrong = [c.id for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
    assert not wrong and len({c.id for c in notebook.cells}) == len(notebook.cells)
    told = "".join(o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs
                   if o.output_type == "stream")
    assert not re.search(r"^\S+\.py:\d+: \w*Warning", told, re.M), "a warning, and where somebody's checkout lies"
    first = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("## ") or "\n## " in c.source)
    unfolded = [c.id for c in notebook.cells[:first] if c.cell_type == "code" and c.source.count("import ") > 1
                and not c.metadata.get("jupyter", {}).get("source_hidden")]
    assert not unfolded, "fold the imports: jupyter.source_hidden"


PROMISES = {"audio": ["load", "save"], "pqmf": ["PQMF"], "autoencoder": ["Autoencoder"], "text": ["to_pinyin"],
            "synthesis": ["LatentSpeech"],
            "judge": ["Judge"], "metrics": ["mel_cepstral_distortion", "syllable_error_rate"],
            "cli": ["main", "prepare", "train", "speak", "evaluate", "experiment", "bench", "doctor"]}


@pytest.mark.parametrize("module", PROMISES)
def test_promised_names_exist(module):
    offered = ast.parse((LIBRARY / f"{module}.py").read_text("utf8"))
    names = {n.name for n in offered.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    names |= {a.asname or a.name for n in offered.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(PROMISES[module]) <= names


def test_a_wheel_holds_the_code_and_its_data(tmp_path):
    import zipfile
    copy = copy_of_the_repository(tmp_path, "nbs", "tests")
    result = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
                 "--disable-pip-version-check", "-q", "-w", tmp_path / "dist", copy, cwd=copy)
    assert result.returncode == 0, result.stderr[-1500:]
    wheel, = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry, = (archive.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    assert "latentspeech = latentspeech.cli:main" in entry
    wanted = {f"latentspeech/{p.relative_to(LIBRARY)}" for p in LIBRARY.rglob("*")
              if p.is_file() and p.suffix in (".py", ".json", ".txt", ".tsv", ".safetensors", ".md")}
    assert wanted <= names, wanted - names


def test_jupyterlab_is_settled_unless_told_otherwise(tmp_path):
    import json
    from tools import set_up
    file = set_up.settle_jupyterlab(tmp_path)
    settings, known = json.loads(file.read_text("utf8")), {}
    for plugin in settings:
        extension, name = plugin.split(":")
        schema = Path(sys.prefix) / "share/jupyter/lab/schemas" / extension / f"{name}.json"
        known[plugin] = json.loads(schema.read_text("utf8"))["properties"]
    cells = settings["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"]
    assert cells["lineWrap"]
    assert set(cells) == set(known["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"]["default"])
    news = "@jupyterlab/apputils-extension:notification"
    assert settings[news] == {"fetchNews": "false"} and "fetchNews" in known[news]
    kernels = "@jupyterlab/apputils-extension:kernels-settings"
    assert settings[kernels] == {"commsOverSubshells": "disabled"}
    # a name that JupyterLab doesn't know would change nothing
    assert "disabled" in [choice["const"] for choice in known[kernels]["commsOverSubshells"]["oneOf"]]


def test_an_older_environment_gets_the_settings_that_it_lacks(tmp_path, monkeypatch, capsys):
    import json
    from tools import set_up
    file = set_up.settle_jupyterlab(tmp_path)
    every, before = json.loads(file.read_text("utf8")), file.stat().st_ino
    assert set_up.settle_jupyterlab(tmp_path).stat().st_ino == before       # nothing is missing, nothing is written
    cells, news, kernels = every
    mine = {cells: {"codeCellConfig": {"lineNumbers": True}, "windowingMode": "full"}, "theme": {"name": "深色"},
            kernels: {"commsOverSubshells": "perComm"}}
    file.write_text(json.dumps(mine, ensure_ascii=False), "utf8")
    set_up.settle_jupyterlab(tmp_path)
    assert json.loads(file.read_text("utf8")) == {
        cells: {"codeCellConfig": {"lineNumbers": True, "lineWrap": True}, "windowingMode": "full"},
        "theme": {"name": "深色"}, kernels: {"commsOverSubshells": "perComm"}, news: every[news]}
    for other in ("{half", "[]", '{"a": 1} // a comment'):       # what can't be read isn't thrown away
        file.write_text(other)
        assert set_up.settle_jupyterlab(tmp_path) == file and file.read_text() == other
        assert "stays as it is" in capsys.readouterr().out
    def full(source, target):
        raise OSError("no space")
    file.write_text("{}")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        set_up.settle_jupyterlab(tmp_path)
    assert file.read_text() == "{}" and list(file.parent.iterdir()) == [file]


def test_makefile_lists_its_targets():
    if not shutil.which("make"):
        pytest.skip("no make")
    listed = run("make", "help")
    assert listed.returncode == 0
    assert {"setup", "demo", "test", "lab", "docs", "bench", "weights", "speak",
            "help"} <= set(re.findall(r"^  make (\w+)", listed.stdout, re.M))


def test_an_extra_is_installed_once_and_a_torch_that_is_there_stays(monkeypatch, tmp_path):
    import subprocess
    from tools import set_up
    ran = []
    def run(*command, **how):
        ran.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, int(ran[-1][1] == "-c" and "absent" in command))
    monkeypatch.setattr(set_up, "run", run)
    monkeypatch.setattr(set_up, "version_of", lambda python, package: "2.12.1+cu130" if package == "torch" else "")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert set_up.install_extra("docs", "json") and len(ran) == 1
    assert set_up.install_extra("docs", "absent") and ran[-1][-1] == ".[docs]"
    pins = Path(ran[-1][ran[-1].index("-c") + 1]).read_text("utf8").splitlines()
    assert "torch==2.12.1+cu130" in pins and not [p for p in pins if p.startswith("torch==2.13")]
