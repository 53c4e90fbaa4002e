"""`python -m setup.update_pins PYTHON...`: rewrites pins.txt from requirements-dev.txt.

Name one interpreter of every supported version, the usual one first. Nothing is installed: pip only says
what it would install. Present pins are kept where they fit; `--upgrade` looks for newer ones. The other
interpreters follow the first one's versions as far as packages still support them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

from .places import PINS, ROOT

ONLY_LINUX = re.compile(r"^(nvidia|cuda|triton)\b")
HEADER = "# Written by `python -m setup.update_pins`; change requirements-dev.txt instead.\n"

Versions = dict[str, str]


def resolve(python: str, constraints: str) -> Versions | None:
    """What pip would install, name to version; None where the constraints cannot be met."""
    with tempfile.TemporaryDirectory() as scratch:
        limits, report = Path(scratch) / "constraints.txt", Path(scratch) / "report.json"
        limits.write_text(constraints, encoding="utf-8")
        command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary", ":all:", "--report", str(report), "-c", str(limits)]
        command += ["-r", str(ROOT / "requirements-dev.txt")]
        if subprocess.run(command, cwd=ROOT).returncode != 0:
            return None
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {canonical(p["metadata"]["name"]): p["metadata"]["version"] for p in installed}
    # A local label such as +cpu belongs to one index only.
    return {name: version.split("+")[0] for name, version in versions.items()}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def language_version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def merge(resolved: dict[str, Versions]) -> list[str]:
    """One line per package and version, with a marker where not every Python gets it."""
    lines = []
    for name in sorted({name for versions in resolved.values() for name in versions}):
        by_version: dict[str, list[str]] = {}
        for python, versions in resolved.items():
            if name in versions:
                by_version.setdefault(versions[name], []).append(python)
        for version, pythons in sorted(by_version.items()):
            markers = []
            if len(pythons) < len(resolved):
                markers.append(" or ".join(f'python_version == "{python}"' for python in sorted(pythons)))
            if ONLY_LINUX.match(name):
                markers.insert(0, 'sys_platform == "linux"')
            condition = " and ".join(f"({m})" if " or " in m and len(markers) > 1 else m for m in markers)
            lines.append(f"{name}=={version}" + (f"; {condition}" if condition else ""))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+", help="interpreters, the usual one first")
    parser.add_argument("--upgrade", action="store_true", help="look for newer versions")
    arguments = parser.parse_args()

    present = "" if arguments.upgrade or not PINS.exists() else PINS.read_text(encoding="utf-8")
    resolved: dict[str, Versions] = {}
    for python in arguments.pythons:
        first = next(iter(resolved.values()), None)
        limits = present if first is None else "".join(f"{n}=={v}\n" for n, v in first.items())
        versions = resolve(python, limits) or resolve(python, present) or resolve(python, "")
        if versions is None:
            raise SystemExit(f"pip finds no set of packages for {python}; its reasons are above.")
        resolved[language_version(python)] = versions
    PINS.write_text(HEADER + "\n".join(merge(resolved)) + "\n", encoding="utf-8")
    print(f"{PINS}: {len(merge(resolved))} pins for Python {', '.join(sorted(resolved))}")


if __name__ == "__main__":
    main()
