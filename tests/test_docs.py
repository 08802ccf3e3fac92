"""The site's links: the checker follows all of them, and finds each kind that leads nowhere."""
import pytest
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
    import nbformat
    monkeypatch.setattr(docs, "WORK", tmp_path / "work")
    docs.prepare(tmp_path / "work" / "source")
    front = nbformat.read(tmp_path / "work" / "source" / "index.ipynb", 4)
    prose = "\n".join(c.source for c in front.cells if c.cell_type == "markdown")
    assert prose.count(".ipynb)") > 30 and not [c for c in front.cells if c.cell_type == "code"]
