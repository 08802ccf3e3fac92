"""Build the notebooks as a web site in _docs, from the outputs they hold: nothing is run, and nothing fetched.

`python -m tools.docs` works in _proc (pages prepared, and what Sphinx leaves), moves the finished site to _docs, and
follows every internal link of it. It fails where a link is dead.
"""
import html, importlib.util, re, shutil, subprocess, sys
from pathlib import Path
import nbformat
from tools.course import clouds, home
from tools.diagram import PARTS
from tools.links import follow_links
from tools.set_up import install_extra

ROOT = Path(__file__).resolve().parent.parent
WORK, SITE = ROOT / "_proc", ROOT / "_docs"
# Files that the front page links to, and what they are called in the site.
OTHER_PAGES = {"CONTRIBUTING.md": "contributing.md", "latentspeech/pretrained/README.md": "weights.md",
               "LICENSE": "LICENSE.txt", "teaching/README.md": "teachers.md", "teaching/syllabus.md": "syllabus.md",
               "teaching/rubric.md": "rubric.md", "teaching/misconceptions.md": "misconceptions.md",
               "teaching/projects.md": "projects.md", "teaching/times.md": "times.md",
               "teaching/table.md": "figures.md", "teaching/glossary.md": "glossary.md"}
RELATIVE_TO = {"teaching/table.md": "nbs"}     # a page that another one includes
TITLES = {"teaching/table.md": "# Figures of each lesson"}   # of pages that have none
FOR_TEACHERS = ("teachers", "syllabus", "rubric", "misconceptions", "projects", "times", "figures")
TERM = re.compile(r"^\| ([^|]+?) \| ([^|]+?) \|(.*)$", re.M)
NO_TERMS = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>]+>|"
                      r"^[#>|][^\n]*$", re.S | re.M)   # what must stay as it is
HEADING = re.compile(r"\]\(([\w./-]*)#([^)]+)\)")   # JupyterLab keeps a heading's letters, the site lowers them
SHOWN = re.compile(r'href="([\w-]+)\.ipynb(?:#([^"]*))?"')   # a link written in HTML
LINK = re.compile(r"(\]\(|src=\"|href=\")(?!https?:|#|mailto:|data:)([^)\"\s#]+)")
CONF = '''
project, author = "LatentSpeech", "The LatentSpeech authors"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme, html_title, html_static_path = "sphinx_book_theme", "LatentSpeech", ["_static"]
html_css_files, mathjax_path = ["course.css"], "mathjax/tex-chtml.js"
html_theme_options = {"show_navbar_depth": 1, "use_download_button": False, "home_page_in_toc": True}
nb_execution_mode, nb_merge_streams = "off", True
myst_enable_extensions, myst_heading_anchors = ["dollarmath", "amsmath", "colon_fence"], 3
nb_mime_priority_overrides = [("html", "text/html", 0)]
# Headings that skip a level, outputs that only a live notebook shows, code in no language: none of them hides a link.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]
'''
# Code is folded at the edge of the page, players are wide enough for a finger, terms are told from links.
STYLE = """div.highlight pre{white-space:pre-wrap;overflow-wrap:anywhere}
.output audio{max-width:100%}.output img{max-width:100%}
a.term{color:inherit;text-decoration:underline dotted}.badges img{height:1.3em}
"""
MATHJAX = "sphinx-mathjax-offline"     # the package that brings MathJax; its folder has the same name


def place_of(heading: str) -> str:
    "Return the name that the site gives to a heading."
    return re.sub("[^a-z0-9-]", "", heading.lower())


def in_the_site(text: str, folder: Path) -> str:
    "Turn links that are relative to a folder of the repository into links between the pages of the site."
    def turned(match):
        file = (folder / match[2]).resolve()
        name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else match[2]
        return match[1] + OTHER_PAGES.get(name, name.removeprefix("nbs/"))
    lowered = HEADING.sub(lambda match: f"]({match[1]}#{place_of(match[2])})", text)
    return SHOWN.sub(shown_link, LINK.sub(turned, lowered))


def glossary() -> dict:   # term -> Chinese
    "Return the terms of the glossary, longest first, so that a part of a term never takes the place of it."
    rows = TERM.findall((ROOT / "teaching/glossary.md").read_text("utf8"))
    found = {term: chinese for term, chinese, rest in rows if "nbs/" in rest}
    return dict(sorted(found.items(), key=lambda row: -len(row[0])))


def anchor(term: str) -> str:
    "Return the name of a term's place in the glossary."
    return "term-" + re.sub("[^a-z0-9]+", "-", term.lower()).strip("-")


def with_terms(text: str, terms: dict) -> str:   # terms: what is still to be linked; what was is taken out
    "Link the first use of each term to the glossary; code, formulas, headings, tables and links stay as they are."
    kept = []
    def keep(piece):
        kept.append(piece)
        return f"\0{len(kept) - 1}\0"
    text = NO_TERMS.sub(lambda match: keep(match[0]), text)
    for term, chinese in list(terms.items()):
        def link(match, term=term, chinese=chinese):
            terms.pop(term)
            place = f'glossary.html#{anchor(term)}'
            return keep(f'<a class="term" href="{place}" title="{html.escape(chinese)}">{match[0]}</a>')
        text = re.sub(rf"\b{re.escape(term)}s?\b", link, text, count=1, flags=re.I)
    while "\0" in text:
        text = re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], text)
    return text


def with_places(text: str) -> str:
    "Give every term of the glossary a place that a link can name."
    return TERM.sub(lambda m: f'| <span id="{anchor(m[1])}"></span>{m[1]} | {m[2]} |{m[3]}' if "nbs/" in m[3] or
                    ".ipynb" in m[3] else m[0], text)


def badges(name: str, git_url: str, branch: str) -> str:
    "Return the buttons that open a lesson in Colab and Kaggle; none where the source isn't on GitHub."
    links = [f'<a href="{url}">Open in {place}</a>' for place, url in clouds(name, git_url, branch).items()]
    return f'<p class="badges">{" · ".join(links)}</p>' if links else ""


def title_of(notebook) -> str:
    "Return the title of a lesson."
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    return re.search(r"^# (.*)$", prose, re.M)[1]


def contents(titles: dict) -> str:   # name of a lesson -> its title
    "Return the tables of contents: a part of the course each, lessons with their numbers, teachers' pages, the rest."
    def tree(caption, rows):
        return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *rows, "```"])
    trees = []
    for digit, part in enumerate(PARTS):
        rows = [f"{name[:2]} {title} <{name}>" for name, title in titles.items() if name[0] == str(digit)]
        trees += [tree(f"{digit} {part}", rows)] if rows else []
    trees += [tree("For teachers", FOR_TEACHERS), tree("More", ("glossary", "contributing", "weights"))]
    return "\n\n".join(trees)


def shown_link(match) -> str:
    "Turn a link to a lesson that is written in HTML into one to its page."
    return f'href="{match[1]}.html{"#" + place_of(match[2]) if match[2] else ""}"'


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
            for data in (o.data for o in cell.outputs if "text/html" in o.get("data", {})):
                data["text/html"] = SHOWN.sub(shown_link, data["text/html"])
            lines = [l for l in cell.source.splitlines() if not l.lstrip().startswith("#|")]
            cell.source = "\n".join(lines).strip()
        if cell.source.strip():
            cells.append(cell)
    notebook.cells = cells
    return notebook


def page_of(file: str) -> str:
    "Return a Markdown page of the repository as it stands in the site."
    text = (ROOT / file).read_text("utf8")
    if not OTHER_PAGES[file].endswith(".md"):
        return text
    text = with_places(text) if file.endswith("glossary.md") else text
    folder = ROOT / RELATIVE_TO.get(file, Path(file).parent)
    return "\n\n".join([*([TITLES[file]] if file in TITLES else []), in_the_site(text, folder)])


def add_static(source: Path):
    "Put style and MathJax beside the pages: one script and its fonts."
    static = source / "_static"
    static.mkdir()
    (static / "course.css").write_text(STYLE, "utf8")
    if found := importlib.util.find_spec(MATHJAX):
        package = Path(found.origin).parent / "static/mathjax"
        shutil.copytree(package / "output/chtml/fonts", static / "mathjax/output/chtml/fonts")
        shutil.copy(package / "tex-chtml.js", static / "mathjax")


def prepare(source: Path):
    "Write the pages that Sphinx reads: every notebook, and the other files that the front page links to."
    shutil.rmtree(WORK, ignore_errors=True)
    ignore = shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints", "__pycache__")
    shutil.copytree(ROOT / "nbs", source, ignore=ignore)
    names = sorted(p.stem for p in (ROOT / "nbs").glob("*.ipynb") if p.stem != "index")
    for file, name in OTHER_PAGES.items():
        (source / name).write_text(page_of(file), "utf8")
    titles = {}
    for name in [*names, "index"]:
        notebook = tidy(nbformat.read(ROOT / "nbs" / f"{name}.ipynb", as_version=4))
        if name == "index":
            notebook.cells.append(nbformat.v4.new_markdown_cell(contents(titles)))
        else:
            titles[name], terms = title_of(notebook), glossary()
            for cell in (c for c in notebook.cells if c.cell_type == "markdown"):
                cell.source = with_terms(cell.source, terms)
            if found := badges(name, *home()):
                notebook.cells.insert(1, nbformat.v4.new_markdown_cell(found))
        nbformat.write(notebook, source / f"{name}.ipynb")
    (source / "conf.py").write_text(CONF, "utf8")
    add_static(source)


def main() -> int:
    "Build the site and follow its links."
    if not install_extra("docs", "sphinx", "myst_nb", "sphinx_book_theme", MATHJAX):
        sys.exit("docs: Sphinx and its theme could not be installed: is there a network?")
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
