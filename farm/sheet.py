"""The contact sheet: a page with every preview in a loop and a box to tick."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote

from .jobs import PREVIEW, Job
from .picks import FILE, HEAD
from .store import Store

PAGE = "contact_sheet.html"
VIDEOS = (".mp4", ".webm", ".mov", ".mkv")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
TEMPLATE = Path(__file__).with_name("sheet.html")


@dataclass(frozen=True)
class Card:
    """One preview on the page. shown: its file, relative to the store; "" while it is not made.

    large: how many of its large videos are there. failed: why it cannot be made, or "".
    """

    job: Job
    shown: str
    large: int = 0
    failed: str = ""


class Cards:
    """The cards of a store, for one run; what a result shows is read once, since results never change."""

    def __init__(self, store: Store, jobs: Iterable[Job]):
        self.store, self.jobs = store, list(jobs)
        self._shown: dict[str, str] = {}

    def now(self) -> list[Card]:
        """A card for every preview, made or not."""
        failures = self.store.failures()
        large = Counter(job.needs for job in self.jobs if job.needs and self.store.is_committed(job))
        return [
            Card(job, self._shown_file(job), large[job.key], failures.get(job.key, ""))
            for job in self.jobs
            if job.stage == PREVIEW
        ]

    def _shown_file(self, job: Job) -> str:
        if not self.store.is_committed(job):
            return ""
        if job.key not in self._shown:
            self._shown[job.key] = shown_file(self.store, job)
        return self._shown[job.key]


def shown_file(store: Store, job: Job) -> str:
    """The first video of a preview that is made, else its first picture."""
    names = store.facts(job)["files"]
    for suffixes in (VIDEOS, PICTURES):
        for name in names:
            if name.lower().endswith(suffixes):
                return f"results/{PREVIEW}/{job.key}/{name}"
    return ""


def page_of(cards: list[Card], picked: set[str], token: str = "") -> str:
    """The whole page.

    token: with it the page writes picks.txt through the farm's server; without, it offers the file to save.
    """
    body = "\n".join(
        _card(number, card, card.job.key in picked) for number, card in enumerate(cards, start=1)
    )
    made = sum(bool(card.shown) for card in cards)
    words = {"token": html.escape(token), "head": html.escape(HEAD), "file": FILE}
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(words, made=made, count=len(cards), cards=body)


def _card(number: int, card: Card, picked: bool) -> str:
    name = html.escape(card.job.name or card.job.short)
    if card.shown.lower().endswith(VIDEOS):
        view = f'<video src="{quote(card.shown)}" autoplay loop muted playsinline></video>'
    elif card.shown:
        view = f'<img src="{quote(card.shown)}" alt="{name}">'
    else:
        view = f"<p>{html.escape(card.failed) or 'not made yet'}</p>"
    large = f", {card.large} large" if card.large else ""
    ticked, off = (" checked" if picked else ""), ("" if card.shown else " disabled")
    box = f'<input type="checkbox" value="{card.job.short}" data-name="{name}"{ticked}{off}>'
    return f'<label class="card">{view}<span>{box} {number}. {name}{large}</span></label>'
