"""The README: short, the way to every document, and true for a pack that was installed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_LINES = 150
LINK = re.compile(r"\]\(([^()\s#]+)[^()\s]*\)")


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def left_out() -> list[str]:
    """How a document names what an installed pack lacks: `-m benchmarks`, `demo.sh`."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    return [f"-m {line[:-1]}" if line.endswith("/") else line for line in lines]


def sections(text: str) -> list[str]:
    return re.split(r"^## ", text, flags=re.MULTILINE)


def unsaid(text: str, names: list[str]) -> list[str]:
    """Names in sections that do not say that a clone is needed."""
    return [
        name
        for part in sections(text)
        for name in names
        if name in part and not re.search(r"\bclone\b", part)
    ]


def test_it_is_short():
    assert len(readme().splitlines()) <= MOST_LINES


def test_it_leads_to_every_document():
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages | {"CONTRIBUTING.md", "CHANGELOG.md"} <= set(LINK.findall(readme()))


def test_its_links_are_shipped():
    folders = {target.partition("/")[0] for target in LINK.findall(readme()) if "://" not in target}
    ignored = {line.rstrip("/") for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").split()}
    assert folders and not folders & ignored


def test_commands_of_a_clone_are_said_to_need_one():
    names = left_out()
    assert {"-m benchmarks", "demo.sh", "test.sh"} <= set(names)
    assert any(name in readme() for name in names)
    assert unsaid(readme(), names) == []


def test_a_command_that_is_not_shipped_is_noticed():
    text = "Intro.\n\n## One\n\n`python -m benchmarks.solver`\n\n## Two\n\nIn a clone: `./demo.sh`\n"
    assert unsaid(text, ["-m benchmarks", "demo.sh"]) == ["-m benchmarks"]
