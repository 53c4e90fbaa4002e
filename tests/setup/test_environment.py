"""A folder or an environment that is not ours is refused, never deleted."""

from __future__ import annotations

import pytest

from setup import environment
from setup.refusal import Refusal


def test_a_folder_in_the_way_is_not_deleted(tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "poem.txt").write_text("mine")
    with pytest.raises(Refusal, match="no virtual environment"):
        environment.make_environment(tmp_path / ".venv")
    assert (tmp_path / ".venv" / "poem.txt").exists()


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_an_environment_of_another_python_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setattr(environment, "interpreter_version", lambda python: version)
    with pytest.raises(Refusal, match=rf"Python {version[0]}\.{version[1]}.*Delete that folder"):
        environment.keep_or_clear(tmp_path)
