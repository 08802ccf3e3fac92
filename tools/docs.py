"""Build the notebooks as a web site in _docs, from the outputs they hold: nothing is run, and nothing fetched.

`python -m tools.docs` works in _proc (pages prepared, and what Sphinx leaves), moves the finished site to _docs, and
follows every internal link of it. It fails where a link is dead.
"""
import re, shutil, subprocess, sys
from pathlib import Path
import nbformat
from tools.links import follow_links

ROOT = Path(__file__).resolve().parent.parent
WORK, SITE = ROOT / "_proc", ROOT / "_docs"
# Files that the front page links to, and what they are called in the site.
OTHER_PAGES = {"CONTRIBUTING.md": "contributing.md", "latentspeech/pretrained/README.md": "weights.md",
               "LICENSE": "LICENSE.txt"}
HEADING = re.compile(r"\]\(#([^)]+)\)")   # JupyterLab keeps a heading's letters, the site lowers them
LINK = re.compile(r"(\]\(|src=\"|href=\")(?!https?:|#|mailto:|data:)([^)\"\s#]+)")
CONF = '''
project, author = "LatentSpeech", "The LatentSpeech authors"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme, html_title, html_static_path = "sphinx_book_theme", "LatentSpeech", []
nb_execution_mode, nb_merge_streams = "off", True
myst_enable_extensions, myst_heading_anchors = ["dollarmath", "amsmath", "colon_fence"], 3
nb_mime_priority_overrides = [("html", "text/html", 0)]
# Headings that skip a level, outputs that only a live notebook shows, code in no language: none of them hides a link.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]
'''


def install():
    "Install the docs extra unless it is there."
    ready = [sys.executable, "-c", "import sphinx, myst_nb, sphinx_book_theme"]
    if subprocess.run(ready, stderr=subprocess.DEVNULL).returncode:
        print("docs: installing Sphinx and its theme (once)", flush=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "-c", "constraints.txt", "-e",
                   ".[docs]"]
        subprocess.run(command, cwd=ROOT, check=True)


def in_the_site(text: str, folder: Path) -> str:
    "Turn links that are relative to a folder of the repository into links between the pages of the site."
    def turned(match):
        file = (folder / match[2]).resolve()
        name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else match[2]
        return match[1] + OTHER_PAGES.get(name, name.removeprefix("nbs/"))
    lowered = HEADING.sub(lambda match: f"](#{re.sub('[^a-z0-9-]', '', match[1].lower())})", text)
    return LINK.sub(turned, lowered)


def is_prose(cell) -> bool:
    "Say whether a code cell is there for the Markdown that it makes, as those of the front page."
    return "#| echo: false" in cell.source and any("text/markdown" in o.get("data", {}) for o in cell.outputs)


def tidy(notebook):
    "Drop what is meant for nbdev, not for readers; links in Markdown that a hidden cell made are links as well."
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = in_the_site(cell.source, ROOT / "nbs")
        elif is_prose(cell):
            made = "\n\n".join(o.data["text/markdown"] for o in cell.outputs if "text/markdown" in o.get("data", {}))
            cell = nbformat.v4.new_markdown_cell(in_the_site(made, ROOT / "nbs"), id=cell.id)
        elif "#| hide" in cell.source:
            continue
        else:
            if "#| echo: false" in cell.source:
                cell.metadata["tags"] = ["remove-input"]
            lines = [l for l in cell.source.splitlines() if not l.lstrip().startswith("#|")]
            cell.source = "\n".join(lines).strip()
        if cell.source.strip():
            cells.append(cell)
    notebook.cells = cells
    return notebook


def prepare(source: Path):
    "Write the pages that Sphinx reads: every notebook, and the other files that the front page links to."
    shutil.rmtree(WORK, ignore_errors=True)
    ignore = shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints", "__pycache__")
    shutil.copytree(ROOT / "nbs", source, ignore=ignore)
    names = sorted(p.stem for p in (ROOT / "nbs").glob("*.ipynb") if p.stem != "index")
    for file, name in OTHER_PAGES.items():
        text = (ROOT / file).read_text("utf8")
        (source / name).write_text(in_the_site(text, (ROOT / file).parent) if name.endswith(".md") else text, "utf8")
    pages = "\n".join([*names, *(Path(n).stem for n in OTHER_PAGES.values() if n.endswith(".md"))])
    for name in [*names, "index"]:
        notebook = tidy(nbformat.read(ROOT / "nbs" / f"{name}.ipynb", as_version=4))
        if name == "index":
            notebook.cells.append(nbformat.v4.new_markdown_cell(f"```{{toctree}}\n:hidden:\n\n{pages}\n```"))
        nbformat.write(notebook, source / f"{name}.ipynb")
    (source / "conf.py").write_text(CONF, "utf8")


def main() -> int:
    "Build the site and follow its links."
    install()
    source, built = WORK / "source", WORK / "html"
    prepare(source)
    # myst-nb writes pictures beside the folder of the pages, so that folder lies in _proc until it is done.
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", WORK / "doctrees", source, built]
    if code := subprocess.run(build, cwd=ROOT).returncode:
        return code
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(built, SITE)
    count, dead = follow_links(SITE)
    print(*dead, f"docs: {count} links, {len(dead)} dead", f"docs: open {SITE / 'index.html'}", sep="\n")
    return int(bool(dead) or not count)


if __name__ == "__main__":
    sys.exit(main())
