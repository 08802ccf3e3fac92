"""Make README.md and README.package.md from nbs/index.ipynb: its prose, and what its code cells print or show.

`python -m tools.readme` runs the notebook, keeps its outputs and writes README.md; `--check` only says whether both are
up to date. Code that a reader should see stays, `#| hide` cells don't. Links to notebooks and pictures are turned so
that they work from the top folder.
"""
import re, sys, tempfile
from pathlib import Path
import nbformat
from tools.run_notebooks import run_notebook

ROOT = Path(__file__).resolve().parent.parent
FRONT = ROOT / "nbs" / "index.ipynb"
PACKAGE = ROOT / "README.package.md"
LOCAL_LINK = re.compile(r"(\]\(|src=\"|href=\")(?!https?:|#|\.\./|mailto:)([^)\"\s]+)")


def from_top(text: str) -> str:
    "Turn links that are relative to nbs/ into links that are relative to the top folder."
    return LOCAL_LINK.sub(r"\1nbs/\2", text).replace("](../", "](").replace('src="../', 'src="')


def shown(output) -> str:
    "Return a cell's output as Markdown; pictures and sounds stay in the notebook."
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.get("data", {})
    if "text/html" in data:
        return ""
    if "text/markdown" in data:
        return from_top("".join(data["text/markdown"])).rstrip()
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```" if "text/plain" in data else ""


def readme(notebook) -> str:
    "Return the Markdown of the front page."
    parts = ["<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook. -->"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(from_top(cell.source).rstrip())
        elif cell.cell_type == "code":
            lines = cell.source.splitlines()
            directives = " ".join(l for l in lines if l.lstrip().startswith("#|"))
            code = "\n".join(l for l in lines if not l.lstrip().startswith("#|")).strip()
            if not re.search(r"\b(hide|echo: false|hide_input)\b", directives) and code:
                parts.append(f"```python\n{code}\n```")
            if not re.search(r"\bhide\b", directives):
                parts += [shown(o) for o in cell.outputs]
    return "\n\n".join(p for p in parts if p) + "\n"


def long_description(text: str  # README.md
                     ) -> str:  # for an index of packages, where relative links lead nowhere
    "Take pictures out, and leave the words of local links."
    text = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:|#|mailto:)[^)]*\)", r"\1", text)


def run_front_page():
    "Run index.ipynb on a fresh kernel; return it with its outputs, without counts."
    with tempfile.TemporaryDirectory() as folder:
        result = run_notebook(FRONT, save_to=Path(folder) / FRONT.name)
        if not result.passed:
            sys.exit("\n".join(result.problems))
        ran = nbformat.read(Path(folder) / FRONT.name, as_version=4)
    kept = nbformat.read(FRONT, as_version=4)
    for cell, new in zip(kept.cells, ran.cells):
        if cell.cell_type != "code":
            continue
        for output in new.outputs:
            if output.output_type == "execute_result":
                output.execution_count = None
        cell.outputs = new.outputs
    return kept


def main() -> int:
    "Write README.md, or say whether it is up to date."
    notebook = run_front_page()
    made, target = readme(notebook), ROOT / "README.md"
    if "--check" in sys.argv:
        wanted = {target: made, PACKAGE: long_description(made)}
        if all(path.exists() and path.read_text("utf8") == text for path, text in wanted.items()):
            return 0
        print("README.md is not what nbs/index.ipynb says: run `make readme`")
        return 1
    nbformat.write(notebook, FRONT)
    target.write_text(made, "utf8")
    PACKAGE.write_text(long_description(made), "utf8")
    print(f"wrote {target.name}, {len(made.split())} words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
