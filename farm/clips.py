"""The clips of a manifest: every row of its CSV file with every combination of its table."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .addresses import Address, Json, find_address
from .manifest import Manifest
from .refusal import Refusal

RANGE = re.compile(r"\s*(-?\d+)\s*\.\.\s*(-?\d+)\s*")
MOST_CLIPS = 100_000


@dataclass(frozen=True)
class Clip:
    """One clip to make. values: what was put where, as the manifest wrote it; prompt: with them put in.

    name: for people, by the values in which clips differ.
    """

    values: dict[str, Any]
    prompt: Json
    name: str = ""


def clips_of(manifest: Manifest, prompt: Json) -> list[Clip]:
    """All clips of a manifest; raises Refusal where an address, a value or a count is wrong."""
    rows = rows_of(manifest.rows) if manifest.rows else [{}]
    columns = {address: values_of(address, given) for address, given in manifest.table.items()}
    both = sorted(columns.keys() & rows[0].keys())
    if both:
        raise Refusal(
            f"'{both[0]}' stands in the table and in {(manifest.rows or Path()).name}. Keep one of them."
        )
    count = len(rows) * math.prod(map(len, columns.values()))
    if count > MOST_CLIPS:
        raise Refusal(f"{manifest.file.name} asks for {count:,} clips; {MOST_CLIPS:,} are the most.")
    addresses = {text: find_address(text, prompt) for text in [*rows[0], *columns]}
    require_apart(addresses)
    alike = {address for address, values in columns.items() if len(values) == 1}
    return [
        clip_of(row | dict(zip(columns, choice)), addresses, prompt, alike)
        for row in rows
        for choice in itertools.product(*columns.values())
    ]


def clip_of(values: dict[str, Any], addresses: dict[str, Address], prompt: Json, alike: set[str]) -> Clip:
    changed = copy.deepcopy(prompt)
    for text, value in values.items():
        address = addresses[text]
        inputs = changed[address.node]["inputs"]
        inputs[address.input] = fitting(value, inputs[address.input], text)
    told = {address: value for address, value in values.items() if address not in alike} or values
    name = ", ".join(f"{address.rpartition('.')[2]}={value}" for address, value in told.items())
    return Clip(values, changed, name)


def require_apart(addresses: dict[str, Address]) -> None:
    """Raises Refusal where two names mean one input."""
    seen: dict[tuple[str, str], str] = {}
    for text, address in addresses.items():
        place = (address.node, address.input)
        if place in seen:
            raise Refusal(f"'{seen[place]}' and '{text}' are the same input. Keep one of them.")
        seen[place] = text


def values_of(address: str, given: Any) -> list[Any]:
    """The values of one line of the table: a list, one value, or "1..8" for 1 to 8, both included."""
    if isinstance(given, str) and (ends := RANGE.fullmatch(given)):
        first, last = int(ends[1]), int(ends[2])
        if last - first >= MOST_CLIPS:
            raise Refusal(f"'{address}': {given} are more than {MOST_CLIPS:,} clips.")
        given = list(range(first, last + 1))
        if not given:
            raise Refusal(f"'{address}': {first}..{last} holds nothing. Write {last}..{first}.")
    values = given if isinstance(given, list) else [given]
    if not values:
        raise Refusal(
            f"'{address}' has no value in the table, so there is no clip. Give one, or leave it out."
        )
    for value in values:
        if value is None or isinstance(value, list | dict):
            raise Refusal(f"'{address}': {value!r} is no value. Give texts, numbers, true or false.")
    return values


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, header -> text; raises Refusal where rows and headers do not fit."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = [[cell.strip() for cell in line] for line in csv.reader(opened)]
    except UnicodeDecodeError as problem:
        raise Refusal(f"{file.name} is no text in UTF-8. Save it as CSV in UTF-8.") from problem
    lines = [line for line in lines if any(line)]
    if not lines:
        raise Refusal(f"{file.name} is empty. Its first line names inputs, as in Positive.text,#5.noise_seed")
    headers, *cells = lines
    if "" in headers:
        raise Refusal(f"{file.name}: column {headers.index('') + 1} has no header.")
    twice = [header for header in headers if headers.count(header) > 1]
    if twice:
        raise Refusal(f"{file.name}: the column '{twice[0]}' stands twice.")
    if not cells:
        raise Refusal(f"{file.name} has headers and no row, so there is no clip.")
    for number, line in enumerate(cells, start=1):
        if len(line) < len(headers):
            raise Refusal(f"{file.name}: row {number} has no column '{headers[len(line)]}'.")
        if len(line) > len(headers):
            raise Refusal(
                f"{file.name}: row {number} has {len(line)} cells for {len(headers)} headers. "
                "Put texts that hold a comma in quotes."
            )
    return [dict(zip(headers, line)) for line in cells]


def fitting(value: Any, present: Any, text: str) -> Any:
    """The value in the type of the one that it replaces; raises Refusal where it has another type."""
    if isinstance(present, bool):
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise Refusal(f"'{text}' is true or false, not {value!r}.")
        return value
    if isinstance(present, int | float):
        number = number_of(value)
        if number is None:
            raise Refusal(f"'{text}' is a number, not {value!r}.")
        return number
    if isinstance(value, bool) and isinstance(present, str):
        raise Refusal(f"'{text}' is a text; put {str(value).lower()} in quotes.")
    return str(value) if isinstance(present, str) else value


def number_of(value: Any) -> int | float | None:
    """A finite number; whole ones stay exact, as seeds need it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    return value if isinstance(value, int | float) and math.isfinite(value) else None
