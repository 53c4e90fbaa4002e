"""The documents: every relative link leads to a file and a heading that exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [*(ROOT / "docs").glob("*.md"), *(ROOT / "web" / "docs").glob("*.md")]
)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:")


def relative_links(text: str) -> list[str]:
    """The targets of a document's links and pictures that lie in the repository."""
    return [target for target in LINK.findall(text) if not target.startswith(ELSEWHERE)]


def anchors(text: str) -> set[str]:
    """The headings of a document as GitHub names them in links."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(document: Path) -> list[str]:
    """The relative links of a document that lead to no file, or to no heading of it."""
    broken = []
    for target in relative_links(document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (document.parent / unquote(path)).resolve() if path else document
        found = file.exists() and file.is_relative_to(ROOT)
        if found and anchor:
            found = anchor in anchors(file.read_text(encoding="utf-8"))
        if not found:
            broken.append(target)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(document):
    assert broken_links(document) == []


def test_a_link_to_a_missing_file_or_heading_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# What is `t_i`?\n")
    (tmp_path / "of two words.md").touch()
    document = tmp_path / "page.md"
    document.write_text(
        "[a](there.md) [two](of%20two%20words.md) [b](there.md#what-is-t_i) [c](https://example.org/x) "
        "![d](gone.png) [e](there.md#other) [f](../outside.md)\n"
    )
    assert broken_links(document) == ["gone.png", "there.md#other", "../outside.md"]
