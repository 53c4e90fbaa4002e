"""`python -m benchmarks`: lists the benchmarks, each with what it measures."""

from __future__ import annotations

import ast
from pathlib import Path


def benchmarks(folder: Path = Path(__file__).parent) -> dict[str, str]:
    """Name -> first line of what its command says about itself; read, not imported, so that it is quick."""
    commands = [*folder.glob("*/__main__.py"), folder / "report.py"]
    names = {path: path.parent.name if path.name == "__main__.py" else path.stem for path in commands}
    lines = {}
    for path, name in sorted(names.items(), key=lambda item: item[1]):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines[name] = text.splitlines()[0].removeprefix(f"`python -m benchmarks.{name}`: ")
    return lines


def main() -> None:
    """Command line."""
    found = benchmarks()
    width = max(map(len, found))
    for name, line in found.items():
        print(f"python -m benchmarks.{name:<{width}}  {line}")
    print("\n--quick is short, --check exits 1 and names what falls short, --json FILE keeps the tables.")


if __name__ == "__main__":
    main()
