"""Follow every internal link of a site from its front page on, as if somebody clicked: `python -m tools.links _docs`.

A link is alive if its file is there and, where it names a place on the page, an element of that name. Links to other
hosts are not followed: nothing here wants a network. The last line is `N links, M dead`.
"""
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    "Collect the links and the named places of a page."
    def __init__(self, text: str):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        "Note what a tag links to and how it is called."
        given = dict(attributes)
        self.links += [given[name] for name in ("href", "src") if given.get(name)]
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}


def target_of(page: Path, link: str, site: Path) -> tuple | None:
    "Return (file, name of a place or \"\") of an internal link; None for what leads elsewhere or is data."
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    file = page if not path else site / path.lstrip("/") if path.startswith("/") else page.parent / path
    file = file.resolve()
    return (file / "index.html" if file.is_dir() else file), unquote(parts.fragment)


def follow_links(site: Path) -> tuple[int, list[str]]:
    "Follow every link from index.html on, page by page; return how many there are, and the dead as `page: link`."
    site = Path(site).resolve()
    pages, waiting, count, dead = {}, [site / "index.html"], 0, []
    def page_of(file):
        if file not in pages:
            pages[file] = Page(file.read_text("utf8"))
            waiting.append(file)
        return pages[file]
    if not waiting.pop().is_file():
        return 0, ["index.html is missing"]
    page_of(site / "index.html")
    while waiting:
        path = waiting.pop()
        for link in pages[path].links:
            if (target := target_of(path, link, site)) is None:
                continue
            count += 1
            file, place = target
            alive = file.is_file() and file.is_relative_to(site)
            if alive and file.suffix == ".html" and place not in {"", *page_of(file).places}:
                alive = False
            if not alive:
                dead.append(f"{path.relative_to(site)}: {link}")
    return count, dead


def main() -> int:
    "Check the site that the first argument names."
    count, dead = follow_links(Path(sys.argv[1] if len(sys.argv) > 1 else "_docs"))
    print(*dead, f"{count} links, {len(dead)} dead", sep="\n")
    return int(bool(dead) or not count)


if __name__ == "__main__":
    sys.exit(main())
