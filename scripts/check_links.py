"""Check that what the pages of a folder point to is there: pages, pictures, places in pages.

usage: python scripts/check_links.py docs/_build/html

Links to other sites are left alone.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The targets and the links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what can be pointed to and what points."""
        given = {name: value for name, value in attrs if value}
        self.places.update(given[name] for name in ("id", "name") if name in given)
        self.links += [given[name] for name in ("href", "src", "data") if name in given]


def broken_links(folder: Path) -> list[str]:
    """Return `page: link` for each link within the folder that leads nowhere.

    Args:
        folder: Pages of HTML; searched with its subfolders.

    Raises:
        FileNotFoundError: If it has no pages.
    """
    files = sorted(folder.resolve().rglob("*.html"))
    if not files:
        raise FileNotFoundError(f"{folder} has no pages")
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    return [
        f"{path.relative_to(folder.resolve())}: {link}"
        for path, page in pages.items()
        for link in dict.fromkeys(page.links)
        if not _leads(link, path, pages)
    ]


def _leads(link: str, page: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return False
    place = unquote(parts.fragment)
    return not place or target not in pages or place in pages[target].places


def main() -> None:
    """Say what is broken; exit code 1 if anything is."""
    broken = broken_links(Path(sys.argv[1]))
    sys.stdout.write("\n".join([*broken, f"{len(broken)} broken links"]) + "\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
