"""`python -m benchmarks` lists what there is."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.__main__ import benchmarks, main


def test_every_benchmark_is_listed_with_what_it_measures(capsys):
    main()
    printed = capsys.readouterr().out
    found = benchmarks()
    assert {"attention", "pipeline", "quality", "refine", "rope", "solver", "report"} <= set(found)
    for name, line in found.items():
        assert line.endswith((".", ":")) or len(line) > 20, name
        assert f"python -m benchmarks.{name}" in printed and line in printed
        assert find_spec(f"benchmarks.{name}") is not None
