"""Serve the studio of lesson 80 as a page, to this machine and no other: `python -m tools.studio --port 8866`.

The page is a notebook of one cell in out/studio, which Voilà runs on a kernel of its own for everybody who opens it.
"""
import argparse, os, sys
from pathlib import Path
import nbformat
from tools.set_up import install_extra

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "out" / "studio"
TITLE = "# Studio\n\nType a Chinese text, turn what you like, listen. Every change speaks; an error says what to do."
CELL = "from latentspeech.studio import Studio\nStudio()"
# The page asks nobody but its own server: Voilà's template would fetch icons from elsewhere.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws: wss:; frame-ancestors 'self'"


def write_page(folder: Path = FOLDER) -> Path:
    "Write the notebook that is the page."
    folder.mkdir(parents=True, exist_ok=True)
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    cells = [nbformat.v4.new_markdown_cell(TITLE, id="title"), nbformat.v4.new_code_cell(CELL, id="studio")]
    page = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(page, folder / "studio.ipynb")
    return folder / "studio.ipynb"


def command(page: Path, port: int, browser: bool = True) -> list[str]:
    "Write the command that serves a page: loopback only, no traceback in it."
    quiet = [] if browser else ["--no-browser"]
    return [sys.executable, "-m", "voila", str(page), f"--port={port}", "--Voila.ip=127.0.0.1",
            "--show_tracebacks=False",
            "--VoilaConfiguration.theme=light",
            f"--Voila.tornado_settings={dict(headers={'Content-Security-Policy': POLICY})}", *quiet]


def main():
    "Serve the page until it is interrupted."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--no-browser", action="store_true", help="only serve")
    options = parser.parse_args()
    if not install_extra("studio", "voila"):
        sys.exit("studio: Voilà could not be installed: is there a network? Without it, `make lab` and lesson 80 "
                 "show the same page.")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    print(f"studio: http://127.0.0.1:{options.port} (the first page takes a few seconds; end with Ctrl-C)", flush=True)
    words = command(write_page(), options.port, not options.no_browser)
    os.execve(words[0], words, env)   # the server takes this process over: whoever ends one ends the other


if __name__ == "__main__":
    main()
