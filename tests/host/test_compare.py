"""The comparison as a file that ComfyUI shows: its size, rate and place, and frames that are synchronous."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch

FRAMES, RATE = 8, 8.0


def video(height: int, width: int, level: float = 0.0) -> torch.Tensor:
    """Frame n is of brightness n / 10 + level."""
    values = torch.arange(FRAMES, dtype=torch.float32) / 10 + level
    return values[:, None, None, None].expand(FRAMES, height, width, 3).contiguous()


@pytest.fixture
def folders(comfy_modules, output_folder, tmp_path, monkeypatch) -> dict[str, Path]:
    import folder_paths

    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(temp))
    return {"output": output_folder, "temp": temp}


def compared(comfy_modules, **changes):
    given = {"small": video(32, 48), "large": video(64, 96, 0.05), "fps": RATE, "mode": "side by side"}
    return comfy_modules.node("S2FlowCompare").execute(**given | changes)


def decoded(path: Path) -> tuple[float, torch.Tensor]:
    """(frames a second, (F, H, W, 3) in [0, 1])"""
    with av.open(str(path)) as file:
        (stream,) = file.streams.video
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(stream)]
        assert stream.codec_context.name == "h264"
        return float(stream.average_rate), torch.stack(frames) / 255


@pytest.mark.parametrize(("save", "place"), [(True, "output"), (False, "temp")])
def test_it_is_shown_and_kept_where_it_was_asked_for(comfy_modules, folders, save, place):
    result = compared(comfy_modules, save=save, filename_prefix="a/compare")
    (shown,) = result.ui.as_dict()["images"]
    assert result.ui.as_dict()["animated"] == (True,)
    assert (shown["type"], shown["subfolder"]) == (place, "a")
    path = folders[place] / shown["subfolder"] / shown["filename"]
    assert path.name == "compare_00001_.mp4"
    rate, frames = decoded(path)
    assert rate == RATE
    assert frames.shape == (FRAMES, 64, 192, 3)
    for n, frame in enumerate(frames):
        assert frame[:, :90].mean() == pytest.approx(n / 10, abs=0.02)
        assert frame[:, 102:].mean() == pytest.approx(n / 10 + 0.05, abs=0.02)
    assert not list(folders["temp" if save else "output"].rglob("*.mp4"))
    assert result.args[0].get_dimensions() == (192, 64)


def test_another_comparison_gets_another_name(comfy_modules, folders):
    for _ in range(2):
        compared(comfy_modules, save=True)
    names = sorted(path.name for path in folders["output"].glob("*.mp4"))
    assert names == ["s2flow_compare_00001_.mp4", "s2flow_compare_00002_.mp4"]


def test_odd_sides_and_a_single_picture_can_be_written(comfy_modules, folders):
    result = compared(comfy_modules, small=video(31, 47)[:1], large=video(63, 95)[:1], mode="wipe")
    (shown,) = result.ui.as_dict()["images"]
    rate, frames = decoded(folders["temp"] / shown["filename"])
    assert frames.shape == (32, 62, 94, 3)  # four seconds of a line that crosses a still picture
    assert rate == RATE


def test_other_lengths_are_told(comfy_modules, folders, caplog):
    with caplog.at_level("WARNING"):
        compared(comfy_modules, small=video(32, 48)[:5])
    assert "small video has 5 frames and the large one 8; the first 5 are compared" in caplog.text


def test_a_batch_leaves_no_file(comfy_modules, folders):
    with pytest.raises(ValueError, match="16 frames, 2 times the other's 8"):
        compared(comfy_modules, small=torch.cat([video(32, 48)] * 2), save=True)
    with pytest.raises(ValueError, match="other proportions"):
        compared(comfy_modules, large=video(64, 64), save=True)
    assert not list(folders["output"].rglob("*.mp4"))
