"""Tells which pinned packages an environment lacks, or holds in a wrong version or in pieces.

Run by the environment's own interpreter (`.venv/bin/python setup/installed.py PINS`), so it stands alone
and uses the marker evaluation that pip brings along. It looks at every installed file, which takes about a
second; that is why no stamp is needed that could claim more than is true.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from importlib.metadata import Distribution, distributions
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name


def applicable_pins(text: str) -> dict[str, Requirement]:
    """The pins whose marker holds for this interpreter and platform, by canonical name."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    requirements = (Requirement(line) for line in lines if line)
    return {canonicalize_name(r.name): r for r in requirements if r.marker is None or r.marker.evaluate()}


def is_whole(distribution: Distribution) -> bool:
    """Whether every file that the installation recorded is there in its recorded size.

    pip writes the record last, so an installation that was killed has none.
    """
    files = distribution.files
    if not files:
        return False
    for file in files:
        if "__pycache__" in file.parts:
            continue
        try:
            size = os.stat(file.locate()).st_size
        except OSError:
            return False
        if file.size is not None and file.size != size:
            return False
    return True


def compare(pins: dict[str, Requirement], search_path: list[str]) -> tuple[list[Requirement], list[Path]]:
    """The pins that must be installed, and the metadata folders of broken copies, to be removed before."""
    found: dict[str, list[Distribution]] = defaultdict(list)
    for distribution in distributions(path=search_path):
        name = distribution.metadata["Name"]
        if name:
            found[canonicalize_name(name)].append(distribution)
    missing, broken = [], []
    for name, pin in pins.items():
        copies = found[name]
        if len(copies) == 1 and is_whole(copies[0]):
            if not pin.specifier.contains(copies[0].version, prereleases=True):
                missing.append(pin)
            continue
        missing.append(pin)
        broken += [Path(str(getattr(copy, "_path", ""))) for copy in copies]
    return missing, [path for path in broken if path.name]


def main() -> None:
    pins = applicable_pins(Path(sys.argv[1]).read_text(encoding="utf-8"))
    site_packages = [path for path in sys.path if Path(path).name == "site-packages"]
    missing, broken = compare(pins, site_packages)
    print(json.dumps({"missing": [f"{r.name}{r.specifier}" for r in missing], "broken": [*map(str, broken)]}))


if __name__ == "__main__":
    main()
