"""Build the notebooks as a web site in _docs, from the outputs they hold: nothing is run, nothing is fetched once set up."""
import shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "_proc", ROOT / "_docs"
CONF = '''
project, author = "LatentSpeech", "The LatentSpeech authors"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme, html_title, html_static_path = "sphinx_book_theme", "LatentSpeech", []
nb_execution_mode, nb_merge_streams = "off", True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
nb_mime_priority_overrides = [("html", "text/html", 0)]
suppress_warnings = ["myst.header", "myst.xref_missing", "mystnb.unknown_mime_type", "misc.highlighting_failure"]
exclude_patterns = ["images"]
'''


def install():
    "Install the docs extra unless it is there."
    if subprocess.run([sys.executable, "-c", "import sphinx, myst_nb, sphinx_book_theme"],
                      stderr=subprocess.DEVNULL).returncode:
        print("docs: installing Sphinx and its theme (once)", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "-c",
                        "constraints.txt", "-e", ".[docs]"],
                       cwd=ROOT, check=True)


def tidy(notebook):
    "Drop what is meant for nbdev, not for readers: hidden cells and directive lines."
    notebook.cells = [c for c in notebook.cells if not (c.cell_type == "code" and "#| hide" in c.source)]
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        hidden = "#| echo: false" in cell.source
        cell.source = "\n".join(l for l in cell.source.splitlines() if not l.lstrip().startswith("#|")).strip()
        if hidden:
            cell.metadata["tags"] = ["remove-input"]
    notebook.cells = [c for c in notebook.cells if c.source.strip()]
    return notebook


def main() -> int:
    install()
    import nbformat
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "nbs", SOURCE, ignore=shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints", "__pycache__"))
    names = sorted(p.stem for p in (ROOT / "nbs").glob("*.ipynb"))
    for name in names:
        notebook = tidy(nbformat.read(ROOT / "nbs" / f"{name}.ipynb", as_version=4))
        if name == "index":
            pages = "\n".join(n for n in names if n != "index")
            notebook.cells.append(nbformat.v4.new_markdown_cell(f"```{{toctree}}\n:hidden:\n\n{pages}\n```"))
        nbformat.write(notebook, SOURCE / f"{name}.ipynb")
    (SOURCE / "conf.py").write_text(CONF, "utf8")
    code = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-b", "html", SOURCE, SITE], cwd=ROOT).returncode
    if code == 0:
        print(f"docs: open {SITE / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
