"""Resolve what is needed for every Python that is promised, without installing it: `python -m tools.resolve`.

pip chooses a wheel for each pinned package and each Python; tests/data/resolution.json keeps what it chose, and
tests/test_release.py holds that against pyproject.toml and constraints.txt. Needs an index; rerun when pins change.
"""
import importlib.metadata, json, re, subprocess, sys, tempfile, tomllib
from pathlib import Path
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests/data/resolution.json"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in range(28, 16, -1)] + ["manylinux2014_x86_64", "linux_x86_64"]
EXTRAS = ("notebook", "train", "onnx", "g2pw", "hub", "datasets")   # zh and eval want a compiler or an sdist
CUDA = re.compile(r"nvidia|triton|cuda")                            # what a CPU build of torch does without


def pins() -> dict[str, str]:
    "Return name -> version of constraints.txt."
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text("utf8").splitlines())
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}


def wanted() -> dict[str, list[str]]:
    "Return what pyproject.toml asks for: the core under \"\", then each of `EXTRAS`."
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    return {"": project["dependencies"]} | {extra: project["optional-dependencies"][extra] for extra in EXTRAS}


def environment(python: str) -> dict[str, str]:
    "Return what markers see on Linux with a Python."
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.0", "extra": "",
            "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix",
            "platform_python_implementation": "CPython", "implementation_name": "cpython"}


def needed(requires: list[str], python: str) -> list[Requirement]:
    "Return the requirements that hold on a Python, without CUDA."
    some = [Requirement(line) for line in requires]
    return [r for r in some if (not r.marker or r.marker.evaluate(environment(python))) and not CUDA.match(r.name)]


def closure() -> list[str]:
    "Name what the core brings with all it brings, and what the extras name, as they are installed here."
    groups, seen = wanted(), set()
    queue = [r.name for r in needed(groups[""], PYTHONS[0])]
    while queue:
        name = canonicalize_name(queue.pop())
        if name not in seen:
            seen.add(name)
            queue += [r.name for r in needed(importlib.metadata.requires(name) or [], PYTHONS[0])]
    return sorted(seen | {canonicalize_name(Requirement(line).name) for extra in EXTRAS for line in groups[extra]})


def resolve(python: str, names: list[str]) -> dict[str, dict]:
    "Let pip choose a wheel of each pinned package; return name -> what it chose."
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--ignore-installed",
                   "--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--target", folder,
                   "--report", f"{folder}/report.json", *(f"--platform={p}" for p in PLATFORMS)]
        subprocess.run([*command, *(f"{name}=={pins()[name]}" for name in names)], check=True)
        chosen = json.loads(Path(folder, "report.json").read_text("utf8"))["install"]
    found = {}
    for one in chosen:
        about = one["metadata"]
        requires = sorted(map(str, needed(about.get("requires_dist", []), python)))
        found[canonicalize_name(about["name"])] = dict(
            version=about["version"], wheel=one["download_info"]["url"].rsplit("/", 1)[1].replace("%2B", "+"),
            requires_python=about.get("requires_python", ""), requires=[r.partition(";")[0].strip() for r in requires])
    return found


def problems(table: dict) -> list[str]:
    "Say what in a table doesn't fit pyproject.toml, constraints.txt, a Python's tags, or itself."
    found = []
    for python in PYTHONS:
        rows = table.get(python, {})
        version = tuple(map(int, python.split(".")))
        tags = {*cpython_tags(version, platforms=PLATFORMS), *compatible_tags(version, f"cp{version[0]}{version[1]}",
                                                                              PLATFORMS)}
        asked = [(extra or "the core", r) for extra, lines in wanted().items() for r in needed(lines, python)]
        core = {canonicalize_name(r.name) for r in needed(wanted()[""], python)}
        reached, queue = set(), list(core)
        while queue:
            name = queue.pop()
            if name not in reached:
                reached.add(name)
                more = [Requirement(line) for line in rows.get(name, {}).get("requires", [])]
                asked += [(name, r) for r in more]
                queue += [canonicalize_name(r.name) for r in more]
        for asker, r in asked:
            row = rows.get(canonicalize_name(r.name))
            if not row or not r.specifier.contains(row["version"], prereleases=True):
                found.append(f"{python}: {asker} wants {r}, which is {row and row['version']} here")
        for name, row in rows.items():
            if pins().get(name) != row["version"].partition("+")[0]:
                found.append(f"{python}: {name} {row['version']} is not what constraints.txt pins")
            if not row["wheel"].endswith(".whl") or not tags & parse_wheel_filename(row["wheel"])[3]:
                found.append(f"{python}: {row['wheel']} can't be installed")
            if not SpecifierSet(row["requires_python"] or "").contains(f"{python}.0"):
                found.append(f"{python}: {name} wants Python {row['requires_python']}")
    return found


def main():
    "Write the table."
    names = closure()
    table = {python: resolve(python, names) for python in PYTHONS}
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf8")
    print(*(problems(table) or [f"{len(names)} packages have wheels for Python {', '.join(PYTHONS)}"]), sep="\n")


if __name__ == "__main__":
    main()
