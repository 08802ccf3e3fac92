"""The site's links: the checker follows all of them, and finds each kind that leads nowhere."""
import nbformat, pytest
from tools import docs
from tools.links import follow_links


def write(folder, **pages):
    "Write a small site; the name of a page is its keyword."
    folder.mkdir(exist_ok=True)
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>", "utf8")
    return folder


def test_links_that_live_are_counted(tmp_path):
    site = write(tmp_path,
                 index='<a href="a.html#here">a</a> <a href="#top" id="top">up</a> <a href="https://x.y/">out</a>',
                 a='<h1 id="here">A</h1><img src="data:image/png;base64,AA"><a href="index.html">home</a>')
    assert follow_links(site) == (3, [])


@pytest.mark.parametrize("link", ["lost.html", "a.html#lost", "#lost", "a.ipynb", "../outside.html", "images/a.png"])
def test_links_that_lead_nowhere_are_named(tmp_path, link):
    (tmp_path / "outside.html").write_text("<html></html>")
    site = write(tmp_path / "site", index='<a href="a.html">a</a>', a=f'<a href="{link}">there</a>')
    assert follow_links(site) == (2, [f"a.html: {link}"])


def test_a_site_without_a_front_page_is_dead(tmp_path):
    assert follow_links(tmp_path) == (0, ["index.html is missing"])


def test_every_link_of_the_repository_finds_its_page_in_the_site():
    nbs = docs.ROOT / "nbs"
    assert docs.in_the_site("[a](11_pqmf.ipynb#b), [c](../CONTRIBUTING.md)", nbs) == \
           "[a](11_pqmf.ipynb#b), [c](contributing.md)"
    assert docs.in_the_site('![d](nbs/images/house.svg) <a href="https://x.y">e</a>', docs.ROOT) == \
           '![d](images/house.svg) <a href="https://x.y">e</a>'
    assert all((docs.ROOT / name).is_file() for name in docs.OTHER_PAGES)


def test_prepared_pages_hold_prose_where_a_hidden_cell_made_it(tmp_path, monkeypatch):

    monkeypatch.setattr(docs, "WORK", tmp_path / "work")
    docs.prepare(tmp_path / "work" / "source")
    front = nbformat.read(tmp_path / "work" / "source" / "index.ipynb", 4)
    prose = "\n".join(c.source for c in front.cells if c.cell_type == "markdown")
    assert prose.count(".ipynb)") > 30 and not [
        c for c in front.cells if c.cell_type == "code" and "remove-input" not in c.metadata.get("tags", ())]


# --- the frame around the lessons

def test_every_lesson_has_its_number_and_its_part_in_the_sidebar():
    titles = {p.stem: docs.title_of(nbformat.read(p, 4)) for p in sorted((docs.ROOT / "nbs").glob("[0-9]*.ipynb"))}
    said = docs.contents(titles)
    assert ":caption: 1 Sound" in said and ":caption: 8 Studio" in said and ":caption: For teachers" in said
    assert all(f"{name[:2]} {title} <{name}>" in said for name, title in titles.items())
    assert said.count("```{toctree}") == said.count("```") - said.count("```{toctree}")


def test_a_term_is_linked_once_and_nowhere_else():
    terms = {"latent": "隐变量", "tone": "声调", "noise schedule": "噪声调度"}
    text = ("# A latent\n\nThe `latent` of $latent$ is [a latent](x.md). Latents are latent, a Noise schedule is not.\n"
            "| tone |")
    said = docs.with_terms(text, terms)
    assert said.count('class="term"') == 2 and list(terms) == ["tone"]
    assert '>Latents</a> are latent' in said and '>Noise schedule</a>' in said and said.startswith("# A latent\n")
    assert docs.with_terms("Another latent.", terms) == "Another latent."


def test_every_term_has_a_place_in_the_glossary():
    page, terms = docs.page_of("teaching/glossary.md"), docs.glossary()
    assert len(terms) >= 40
    assert all(page.count(f'id="{docs.anchor(term)}"') == 1 for term in terms)


@pytest.mark.parametrize("url", ["https://github.com/a/b", "https://github.com/a/b.git"])
def test_badges_name_the_lesson_where_the_source_is_on_github(url):
    said = docs.badges("10_audio", url, "main")
    assert "https://colab.research.google.com/github/a/b/blob/main/nbs/10_audio.ipynb" in said
    assert "https://kaggle.com/kernels/welcome?src=https://github.com/a/b/blob/main/nbs/10_audio.ipynb" in said


@pytest.mark.parametrize("url", ["https://latentspeech.example.org/source", "https://github.com/a", "", "git@x:a/b"])
def test_no_badge_leads_nowhere(url):
    assert docs.badges("10_audio", url, "main") == ""


def test_prepared_pages_fold_code_and_bring_their_own_formulas(tmp_path, monkeypatch):
    monkeypatch.setattr(docs, "WORK", tmp_path / "work")
    source = tmp_path / "work" / "source"
    docs.prepare(source)
    assert "pre-wrap" in (source / "_static/course.css").read_text()
    conf = (source / "conf.py").read_text()
    assert 'mathjax_path = "course.css"' not in conf and '"mathjax/tex-chtml.js"' in conf and "http" not in conf
    assert {"teachers.md", "glossary.md", "figures.md"} <= {p.name for p in source.iterdir()}
