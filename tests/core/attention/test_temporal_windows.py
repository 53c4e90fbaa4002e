"""Truncated windows against the paper's rolled, padded and masked ones, and against full attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.errors import WindowsNotApplicable
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.temporal_windows import (
    TemporalWindow,
    shifted_window_attention,
    temporal_density,
    window_of_layer,
)
from s2flow_core.windows.grid import TokenGrid

HEADS, HEIGHT, WIDTH, DIM = 2, 2, 3, 8


def qkv(frames: int, extra: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(frames)
    shape = (3, 1, HEADS, frames * HEIGHT * WIDTH + extra, DIM)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64))


def rolled_and_masked(q, k, v, frames: int, window: int, shifted: bool) -> torch.Tensor:
    """Swin's way, frame by frame: pad, roll, mask pairs that are no neighbours, roll back."""
    shift = window // 2 if shifted else 0
    padded = -(-frames // window) * window
    # With a shift, frames before it wrap to the end, so one more window may be needed to keep them apart.
    padded += window if shifted else 0
    number = torch.arange(padded).roll(-shift)
    place = torch.arange(padded) // window
    same_window = torch.empty(padded, padded, dtype=torch.bool)
    same_window[number[:, None], number[None, :]] = place[:, None] == place[None, :]
    wrapped = torch.arange(padded) < shift
    neighbours = same_window & (wrapped[:, None] == wrapped[None, :])
    neighbours = neighbours[:frames, :frames]  # padding is masked
    per_frame = HEIGHT * WIDTH
    mask = neighbours.repeat_interleave(per_frame, 0).repeat_interleave(per_frame, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@settings(deadline=None)
@given(st.integers(1, 13), st.integers(2, 9), st.booleans())
def test_truncated_windows_equal_rolled_and_masked_ones(frames: int, window: int, shifted: bool):
    q, k, v = qkv(frames)
    shape = (frames, HEIGHT, WIDTH)
    if window >= frames and shifted:
        window = max(2, frames - 1)
    if window >= frames:
        shifted = False
    out = shifted_window_attention(
        q, k, v, VideoSequence(TokenGrid(shape, (1, 1, 1))), TemporalWindow(window, shifted)
    )
    torch.testing.assert_close(out, rolled_and_masked(q, k, v, frames, window, shifted))


@given(st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_a_window_over_all_frames_is_full_attention_to_the_bit(frames: int, longer: int, shifted: bool):
    q, k, v = qkv(frames)
    window = TemporalWindow(max(2, frames + longer), shifted)
    out = shifted_window_attention(
        q, k, v, VideoSequence(TokenGrid((frames, HEIGHT, WIDTH), (1, 1, 1))), window
    )
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v, scale=DIM**-0.5))


@given(st.integers(1, 40), st.integers(2, 12), st.booleans())
def test_spans_cut_the_video_once(length: int, frames: int, shifted: bool):
    spans = TemporalWindow(frames, shifted).spans(length)
    assert [frame for first, end in spans for frame in range(first, end)] == list(range(length))
    assert all(0 < end - first <= frames for first, end in spans)
    offset = frames // 2 if shifted else 0
    assert all(first % frames == offset % frames for first, _ in spans[1:])


def test_window_count_is_that_of_whole_windows_and_one_more_only_when_shifted():
    assert len(TemporalWindow(7).spans(21)) == 3
    assert len(TemporalWindow(7, shifted=True).spans(21)) == 4


def test_layers_take_turns():
    assert [window_of_layer(layer, 4).shifted for layer in range(4)] == [False, True, False, True]


@given(st.integers(2, 12), st.integers(2, 5), st.booleans())
def test_text_sees_and_is_seen_by_everything(frames: int, window: int, shifted: bool):
    prefix, suffix = 2, 3
    q, k, v = qkv(frames, prefix + suffix)
    per_frame = HEIGHT * WIDTH
    temporal = TemporalWindow(window, shifted)
    stats = VisitedKeys()
    out = shifted_window_attention(
        q,
        k,
        v,
        VideoSequence(TokenGrid((frames, HEIGHT, WIDTH), (1, 1, 1)), prefix=prefix, suffix=suffix),
        temporal,
        stats=stats,
    )
    mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool)
    video = torch.zeros(frames * per_frame, frames * per_frame, dtype=torch.bool)
    for first, end in temporal.spans(frames) if window < frames else [(0, frames)]:
        video[first * per_frame : end * per_frame, first * per_frame : end * per_frame] = True
    mask[prefix:-suffix, prefix:-suffix] = video
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    if window < frames:
        assert stats.density == pytest.approx(temporal_density(frames, temporal))


def test_a_key_mask_is_obeyed():
    q, k, v = (x.float() for x in qkv(6))  # a mask is applied in single precision
    hidden = torch.ones(1, q.shape[2], dtype=torch.bool)
    hidden[:, :5] = False
    out = shifted_window_attention(
        q, k, v, VideoSequence(TokenGrid((6, HEIGHT, WIDTH), (1, 1, 1)), key_mask=hidden), TemporalWindow(4)
    )
    per_frame = HEIGHT * WIDTH
    end = 4 * per_frame
    expected = F.scaled_dot_product_attention(q[:, :, :end], k[:, :, 5:end], v[:, :, 5:end])
    torch.testing.assert_close(out[:, :, :end], expected)


def rotated(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotary embedding over all channels with one position per token."""
    angles = positions[:, None] * 100.0 ** (-torch.arange(DIM // 2) / (DIM // 2))  # (tokens, dim/2)
    cosine, sine = angles.cos(), angles.sin()
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2)


def test_positions_that_start_anew_in_every_window_change_nothing():
    frames, window = 9, TemporalWindow(4, shifted=True)
    q, k, v = qkv(frames)
    whole = torch.arange(frames).double()
    anew = torch.cat([torch.arange(end - first) for first, end in window.spans(frames)]).double()
    results = []
    for positions in (whole, anew):
        per_token = positions.repeat_interleave(HEIGHT * WIDTH)
        turned = rotated(q, per_token), rotated(k, per_token)
        results.append(
            shifted_window_attention(
                *turned, v, VideoSequence(TokenGrid((frames, HEIGHT, WIDTH), (1, 1, 1))), window
            )
        )
    torch.testing.assert_close(results[0], results[1])


def test_a_window_of_one_frame_and_another_layout_are_named():
    with pytest.raises(ValueError, match=r"1 latent frame.* at least 2"):
        TemporalWindow(1)
    q, k, v = qkv(4)
    with pytest.raises(WindowsNotApplicable, match="24 tokens"):
        shifted_window_attention(
            q, k, v, VideoSequence(TokenGrid((5, HEIGHT, WIDTH), (1, 1, 1))), TemporalWindow(2)
        )
