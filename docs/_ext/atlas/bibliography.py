"""references.bib, read and written out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).parents[3] / "references.bib"

_ACCENTS = {r"{\'e}": "é", r"{\'a}": "á", r"{\'o}": "ó", r'{\"o}': "ö", r'{\"u}': "ü",
            r'{\"a}': "ä", r"{\`e}": "è", r"{\~n}": "ñ", r"{\o}": "ø", r"{\l}": "ł"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Work:
    """One entry, by the names of its fields in lower case."""

    key: str
    fields: Mapping[str, str]

    @property
    def authors(self) -> list[str]:
        """Family names, in order; "others" where the list is cut."""
        people = self.fields.get("author", "").split(" and ")
        return [person.partition(",")[0].strip() for person in people if person.strip()]

    @property
    def short(self) -> str:
        """Author and year."""
        first, *rest = self.authors or ["?"]
        names = first + (" et al." if len(rest) > 1 else f" and {rest[0]}" if rest else "")
        return f"{names.replace(' and others', ' et al.')} {self.fields.get('year', '')}".strip()

    def markdown(self) -> str:
        """Return authors, year, linked title and where it was published."""
        people = ["others" if name == "others" else name for name in self.authors]
        names = ", ".join(people).replace(", others", " et al.")
        title, url = self.fields.get("title", self.key), self._url()
        linked = f"[{title}]({url})" if url else f"*{title}*"
        venue = self.fields.get("booktitle") or self.fields.get("journal") or ""
        ends = ". ".join(part for part in (linked, venue) if part)
        return f"{names} ({self.fields.get('year', 'no year')}). {ends}."

    def _url(self) -> str | None:
        if "eprint" in self.fields:
            return f"https://arxiv.org/abs/{self.fields['eprint']}"
        if "doi" in self.fields:
            return f"https://doi.org/{self.fields['doi']}"
        return self.fields.get("url")


def read_bibliography(path: Path = BIBLIOGRAPHY) -> dict[str, Work]:
    """Return the entries of a .bib file by key.

    Raises:
        ValueError: If an entry is not closed.
    """
    text = path.read_text(encoding="utf-8")
    works = {}
    for start in re.finditer(r"^@(\w+)\{([^,\s]+)\s*,", text, flags=re.MULTILINE):
        body = _braced(text, start.end(), f"{path.name}: {start[2]}")
        works[start[2]] = Work(key=start[2], fields=_fields(body))
    return works


def bibliography_page() -> str:
    """Return the page of all entries; each key is a target."""
    works = sorted(read_bibliography().values(), key=lambda work: work.key)
    entries = "\n".join(f"({work.key})=\n{work.markdown()} `{work.key}`\n" for work in works)
    return f"# Bibliography\n\nFrom `references.bib`; docstrings cite by key.\n\n{entries}"


def _fields(body: str) -> dict[str, str]:
    fields = {}
    place = 0
    while found := re.compile(r"(\w+)\s*=\s*([{\"]|\d+)").search(body, place):
        name, opening = found[1].lower(), found[2]
        if opening == "{":
            value = _braced(body, found.end(), name)
        elif opening == '"':
            value = body[found.end() : body.index('"', found.end())]
        else:
            value = opening
        fields[name] = _plain(value)
        place = found.end() + (len(value) if opening in '{"' else 0)
    return fields


def _braced(text: str, start: int, what: str) -> str:
    """Return what stands between the brace that opened before `start` and the one that closes."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    raise ValueError(f"{what}: the entry is not closed")


def _plain(value: str) -> str:
    for tex, letter in _ACCENTS.items():
        value = value.replace(tex, letter)
    return re.sub(r"\s+", " ", value.replace("{", "").replace("}", "")).replace("--", "–").strip()
