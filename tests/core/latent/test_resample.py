"""Resizing touches space only, is linear and commutes with the affine map of a latent format."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.latent.resample import METHODS, check_finite, resize_latent, resize_video

methods = st.sampled_from(METHODS)
sizes = st.tuples(st.integers(2, 20), st.integers(2, 20))


def latent(seed: int = 0, h: int = 8, w: int = 10) -> torch.Tensor:
    return torch.randn(2, 3, 4, h, w, generator=torch.Generator().manual_seed(seed))


@given(methods, sizes)
@settings(max_examples=60)
def test_commutes_with_a_per_channel_affine_map(method: str, size: tuple[int, int]):
    gain = torch.tensor([0.5, 2.0, -1.5]).reshape(3, 1, 1, 1)
    offset = torch.tensor([1.0, -0.2, 0.7]).reshape(3, 1, 1, 1)
    x = latent()
    torch.testing.assert_close(
        resize_latent(x * gain + offset, size, method),
        resize_latent(x, size, method) * gain + offset,
        atol=2e-5,
        rtol=0,
    )


@given(methods, sizes)
@settings(max_examples=40)
def test_linear_and_each_frame_by_itself(method: str, size: tuple[int, int]):
    x, y = latent(0), latent(1)
    torch.testing.assert_close(
        resize_latent(2 * x - y, size, method),
        2 * resize_latent(x, size, method) - resize_latent(y, size, method),
        atol=2e-5,
        rtol=0,
    )
    torch.testing.assert_close(
        resize_latent(x, size, method)[:, :, 2], resize_latent(x[:, :, 2:3], size, method)[:, :, 0]
    )


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_reproduces_what_the_polynomial_order_promises(method: str):
    # Pixel centres at (i + 1/2): a straight ramp is exact away from the border.
    ramp = ((torch.arange(16) + 0.5) / 16).expand(1, 1, 1, 16, 16)
    large = resize_latent(ramp, (32, 32), method)[0, 0, 0, 16]
    torch.testing.assert_close(large[4:-4], ((torch.arange(32) + 0.5) / 32)[4:-4], atol=1e-5, rtol=0)


def test_bicubic_is_third_order():
    curve = ((torch.arange(16) + 0.5) / 16).square().expand(1, 1, 1, 16, 16)
    large = resize_latent(curve, (32, 32), "bicubic")[0, 0, 0, 16]
    torch.testing.assert_close(large[4:-4], ((torch.arange(32) + 0.5) / 32).square()[4:-4], atol=1e-5, rtol=0)


def test_area_is_the_block_mean_and_its_repeat():
    x = latent()
    expected = F.avg_pool2d(x.flatten(0, 2), 2).reshape(2, 3, 4, 4, 5)
    torch.testing.assert_close(resize_latent(x, (4, 5), "area"), expected)
    repeated = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(resize_latent(x, (16, 20), "area"), repeated)
    torch.testing.assert_close(resize_latent(x, (16, 20), "nearest"), repeated)


@pytest.mark.parametrize("method", ["bicubic", "bilinear", "area"])
def test_shrinking_is_antialiased(method: str):
    checkerboard = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float().expand(1, 1, 1, 16, 16)
    small = resize_latent(checkerboard, (8, 8), method)
    assert (small[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_keeps_dtype(dtype: torch.dtype, method: str):
    assert resize_latent(latent().to(dtype), (16, 20), method).dtype == dtype


def test_same_size_is_the_same_tensor():
    x = latent()
    assert resize_latent(x, (8, 10)) is x


@given(methods, sizes)
@settings(max_examples=30)
def test_video_stays_in_range(method: str, size: tuple[int, int]):
    pixels = torch.rand(3, 9, 7, 3, generator=torch.Generator().manual_seed(0)).round()
    resized = resize_video(pixels, size, method)
    assert resized.shape == (3, *size, 3)
    assert 0 <= resized.min() <= resized.max() <= 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="'lanczos'; choose one of bicubic"):
        resize_latent(latent(), (4, 4), "lanczos")
    with pytest.raises(ValueError, match="at least 1"):
        resize_latent(latent(), (0, 4))
    broken = latent()
    broken[0, 0, 0, 0, :2] = float("nan")
    with pytest.raises(ValueError, match=r"The latent_image holds 2 value\(s\)"):
        check_finite(broken, "The latent_image")
    check_finite(latent(), "The latent_image")
