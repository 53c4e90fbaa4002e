"""What a killed installation leaves is told from a whole one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from setup.installed import applicable_pins, compare
from setup.places import PINS

PINNED = "alpha==1.0\nbeta==2.0; python_version < '3'\n# a remark\nGamma.Ray==3.0\n"


def install(site_packages: Path, name: str, version: str, text: str = "value = 1\n") -> Path:
    """Writes what an installed wheel leaves behind; returns its metadata folder."""
    info = site_packages / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (site_packages / f"{name}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"{name}.py,sha256={digest},{len(text)}\n{info.name}/RECORD,,\n")
    return info


def missing_names(site_packages: Path) -> tuple[list[str], list[Path]]:
    missing, broken = compare(applicable_pins(PINNED), [str(site_packages)])
    return [requirement.name for requirement in missing], broken


def test_complete_packages_are_left_alone(tmp_path):
    install(tmp_path, "alpha", "1.0")
    install(tmp_path, "gamma_ray", "3.0")
    assert missing_names(tmp_path) == ([], [])


def test_absent_packages_and_other_versions_are_installed(tmp_path):
    install(tmp_path, "alpha", "1.1")
    assert missing_names(tmp_path) == (["alpha", "Gamma.Ray"], [])


@pytest.mark.parametrize("damage", ["no record", "file gone", "file cut short", "two versions"])
def test_what_a_killed_installation_leaves_is_installed_again(tmp_path, damage):
    install(tmp_path, "gamma_ray", "3.0")
    info = install(tmp_path, "alpha", "1.0")
    broken = [info]
    if damage == "no record":
        (info / "RECORD").unlink()
    elif damage == "file gone":
        (tmp_path / "alpha.py").unlink()
    elif damage == "file cut short":
        (tmp_path / "alpha.py").write_text("val")
    else:
        broken.append(install(tmp_path, "alpha", "0.9"))
    missing, found = missing_names(tmp_path)
    assert missing == ["alpha"]
    assert sorted(found) == sorted(broken)


def test_pins_cover_every_supported_python():
    lines = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line and "://" not in line for line in lines)
    for name in ("torch", "numpy", "comfyui-frontend-package", "pytest"):
        versions = [line for line in lines if line.startswith(f"{name}==")]
        markers = " ".join(line.partition(";")[2] for line in versions)
        assert versions
        assert markers == "" or all(python in markers for python in ("3.10", "3.11", "3.12"))
