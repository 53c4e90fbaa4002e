"""What was measured once is known to the next process, and only on the same machine."""

from __future__ import annotations

import json
import threading
import time

import pytest
import torch

from s2flow_core.attention import measured_rates
from s2flow_core.attention.measured_rates import MeasuredRates, machine

CPU = torch.device("cpu")


def fails() -> float:
    raise AssertionError("measured again")


def test_a_number_is_measured_once_and_kept_on_disk(tmp_path):
    path = tmp_path / "user" / "speeds.json"
    rates = MeasuredRates(path)
    assert rates.number(CPU, "speed of a", lambda: 3.5) == 3.5
    assert rates.number(CPU, "speed of a", fails) == 3.5
    assert MeasuredRates(path).number(CPU, "speed of a", fails) == 3.5
    assert [p.name for p in path.parent.iterdir()] == ["speeds.json"]


def test_another_version_of_anything_is_measured_anew(tmp_path, monkeypatch):
    path = tmp_path / "speeds.json"
    MeasuredRates(path).number(CPU, "a", lambda: 1.0)
    for what, other in (
        ("_triton_version", lambda: "9.9"),
        ("_source_version", lambda: "0"),
        ("_threads", lambda: "99 threads"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(measured_rates, what, other)
            assert MeasuredRates(path).number(CPU, "a", lambda: 2.0) == 2.0
    assert MeasuredRates(path).number(CPU, "a", fails) == 1.0


def test_a_gpu_is_known_by_chip_driver_torch_triton_and_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    monkeypatch.setattr(measured_rates, "_driver", lambda: "driver 12080")
    name = machine(torch.device("cuda", 1))
    assert name.startswith(f"Card 1, driver 12080, torch {torch.__version__}, Triton ")
    assert ", kernels " in name


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    path = tmp_path / "speeds.json"
    one, other = MeasuredRates(path), MeasuredRates(path)
    one.number(CPU, "a", lambda: 1.0)
    other.number(CPU, "b", lambda: 2.0)
    one.number(CPU, "c", lambda: 3.0)
    last = MeasuredRates(path)
    assert [last.number(CPU, name, fails) for name in "abc"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"x": 3}', "null", '{"x": {"a": "fast", "b": -1, "c": NaN}}']
)
def test_a_damaged_file_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "speeds.json"
    path.write_text(text.replace('"x"', json.dumps(machine(CPU))))
    rates = MeasuredRates(path)
    assert [rates.number(CPU, name, lambda: 4.0) for name in "abc"] == [4.0] * 3
    assert MeasuredRates(path).number(CPU, "a", fails) == 4.0


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").write_text("")
    rates = MeasuredRates(tmp_path / "file" / "speeds.json")
    for name in "ab":
        assert rates.number(CPU, name, lambda: 1.0) == 1.0
        assert rates.number(CPU, name, fails) == 1.0
    assert caplog.text.count("cannot be kept") == 1


def test_what_fails_is_measured_again_the_next_time():
    rates = MeasuredRates()
    with pytest.raises(AssertionError):
        rates.number(CPU, "a", fails)
    assert rates.number(CPU, "a", lambda: 1.0) == 1.0


def test_threads_measure_one_after_the_other_and_each_number_once():
    rates, measured, running = MeasuredRates(), [], []

    def measure() -> float:
        running.append(1)
        assert len(running) == 1
        time.sleep(0.02)
        running.pop()
        measured.append(1)
        return 1.0

    threads = [
        threading.Thread(target=rates.number, args=(CPU, name, measure)) for name in ("a", "b", "a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(measured) == 2


def test_old_machines_fall_out_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "speeds.json"
    for version in range(40):
        monkeypatch.setattr(measured_rates, "_source_version", lambda version=version: str(version))
        MeasuredRates(path).number(CPU, "a", lambda: 1.0)
    assert len(json.loads(path.read_text())) == 32
    assert MeasuredRates(path).number(CPU, "a", fails) == 1.0
