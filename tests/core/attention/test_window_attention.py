"""Every backend computes what the definition says, on any layout, and refuses what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass

import naive_attention as naive
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from live_memory import LiveMemory
from torch import Tensor

from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import VisitedKeys
from s2flow_core.attention.errors import BackendRefused, WindowsNotApplicable
from s2flow_core.attention.window_attention import attention_density, count_visited_keys, window_attention
from s2flow_core.windows.grid import TokenGrid

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 1e-2}


@dataclass(frozen=True)
class Case:
    """Everything that can vary in one call."""

    grid: TokenGrid
    extents: tuple[tuple[int, int, int], ...]
    batch: int
    dim: int
    prefix: int
    suffix: int
    mask: str
    layout: str
    dtype: torch.dtype
    seed: int

    @property
    def heads(self) -> int:
        return len(self.extents)

    @property
    def tokens(self) -> int:
        return self.prefix + self.grid.tokens + self.suffix

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v as (B, heads, tokens, dim) in the memory order of `layout`."""
        torch.manual_seed(self.seed)
        shape = (self.batch, self.tokens, self.heads, self.dim)
        if self.layout == "fused":  # one projection for q, k and v, as most DiTs have it
            fused = torch.randn(self.batch, self.tokens, 3, self.heads, self.dim).to(self.dtype)
            q, k, v = fused.unbind(2)
        else:
            q, k, v = (torch.randn(shape).to(self.dtype) for _ in range(3))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return (q.contiguous(), k.contiguous(), v.contiguous()) if self.layout == "heads first" else (q, k, v)

    def key_mask(self) -> tuple[Tensor | None, Tensor | None]:
        """The mask as a model would pass it, and the bias per key that it means."""
        torch.manual_seed(self.seed + 1)
        bias = torch.zeros(self.batch, self.tokens)
        if self.mask == "none":
            return None, None
        if self.mask == "text padding":
            if self.suffix > 1:
                bias[:, -(self.suffix // 2) :] = -torch.inf
            return bias[:, None, None, :], bias
        if self.mask == "bool":
            keep = torch.rand(self.batch, self.tokens) > 0.3
            return keep, bias.masked_fill(~keep, -torch.inf)
        bias = torch.randn(1, self.tokens)
        return bias[:, None], bias.expand(self.batch, -1)  # (1, 1, tokens), additive


@st.composite
def cases(draw, dtypes=tuple(TOLERANCE)) -> Case:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)))
    tile = draw(st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 2, 3), (1, 4, 4), (2, 3, 2)]))
    grid = TokenGrid(shape, tile)
    extent = st.tuples(*(st.integers(1, n) for n in grid.tiles))
    return Case(
        grid=grid,
        extents=tuple(draw(st.lists(extent, min_size=1, max_size=3))),
        batch=draw(st.integers(1, 3)),
        dim=draw(st.sampled_from([64, 128])),
        prefix=draw(st.integers(0, 3)),
        suffix=draw(st.integers(0, 5)),
        mask=draw(st.sampled_from(["none", "text padding", "bool", "additive"])),
        layout=draw(st.sampled_from(["heads first", "tokens first", "fused"])),
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 9999)),
    )


def compute(case: Case, backend: str, tail: bool = False, stats: VisitedKeys | None = None) -> Tensor:
    q, k, v = case.tensors()
    return window_attention(
        q,
        k,
        v,
        case.grid,
        torch.tensor(case.extents),
        prefix=case.prefix,
        suffix=case.suffix,
        key_mask=case.key_mask()[0],
        backend=backend,
        tail=tail,
        stats=stats,
    )


def reference(case: Case, tail: bool = False) -> Tensor:
    bias = case.key_mask()[1]
    return naive.attention(
        *case.tensors(), case.grid.shape, case.grid.tile, case.extents, case.prefix, bias, tail=tail
    )


def relative_error(result: Tensor, expected: Tensor) -> float:
    return ((result.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@given(cases())
@settings(max_examples=300)
def test_torch_boxes_matches_the_definition(case: Case):
    result = compute(case, "torch_boxes")
    assert result.dtype == case.dtype and result.shape == (case.batch, case.heads, case.tokens, case.dim)
    assert not result.isnan().any()
    assert relative_error(result, reference(case)) <= TOLERANCE[case.dtype]


@given(cases())
@settings(max_examples=100)
def test_tail_matches_its_definition(case: Case):
    result = compute(case, "torch_boxes", tail=True)
    assert not result.isnan().any()
    assert relative_error(result, reference(case, tail=True)) <= TOLERANCE[case.dtype]


@given(cases(dtypes=(torch.float32,)))
@settings(max_examples=40)
def test_cutting_the_work_to_fit_memory_changes_nothing(case: Case):
    whole = compute(case, "torch_boxes", tail=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(torch_boxes._MOST_KEY_ELEMENTS, "cpu", 1)
        assert torch.allclose(compute(case, "torch_boxes", tail=True), whole, atol=1e-5)


@given(cases())
@settings(max_examples=30)
def test_windows_of_the_whole_grid_are_plain_attention(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    q, k, v = (x.double() for x in whole.tensors())
    bias = whole.key_mask()[1]
    mask = None if bias is None else bias[:, None, None].double()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num(0.0)
    for backend in ("torch_boxes", "dense", "auto"):
        assert relative_error(compute(whole, backend), expected) <= TOLERANCE[case.dtype]


@given(cases())
@settings(max_examples=30)
def test_dense_ignores_the_windows(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    assert torch.equal(compute(case, "dense"), compute(whole, "dense"))


@given(cases(dtypes=(torch.float32,)))
@settings(max_examples=40)
def test_visited_keys_are_those_of_the_density(case: Case):
    visited = VisitedKeys()
    compute(case, "torch_boxes", stats=visited)
    extents = torch.tensor(case.extents)
    by_definition = [
        int(naive.visible_video(case.grid.shape, case.grid.tile, extent).sum()) for extent in case.extents
    ]
    assert count_visited_keys(case.grid, extents).tolist() == by_definition
    assert visited.seen == case.batch * sum(by_definition)
    assert visited.density == pytest.approx(attention_density(case.grid, extents))


def test_every_query_hidden_from_everything_gets_zeros():
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(2, 1, grid.tokens, 64) for _ in range(3))
    keep = torch.zeros(2, grid.tokens, dtype=torch.bool)
    keep[1] = True
    for backend in ("torch_boxes", "dense"):
        out = window_attention(q, k, v, grid, torch.tensor([[1, 1, 1]]), key_mask=keep, backend=backend)
        assert (out[0] == 0).all() and out[1].abs().sum() > 0


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_mask_of_the_lowest_finite_number_hides_keys(dtype):
    """Hosts write 'hidden' as -finfo.max, which overflows to -inf or not depending on the dtype."""
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(1, 1, grid.tokens + 6, 64).to(dtype) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 6)
    mask[..., -3:] = -torch.finfo(torch.float32).max
    extents = torch.tensor([[1, 2, 1]])
    out = window_attention(q, k, v, grid, extents, suffix=6, key_mask=mask, backend="torch_boxes")
    bias = torch.zeros(1, grid.tokens + 6)
    bias[:, -3:] = -torch.inf
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist(), bias=bias)
    assert relative_error(out, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("backend", ["torch_boxes", "dense"])
def test_a_mask_is_never_written_out_for_every_query(backend, monkeypatch):
    """On a GPU torch pads masks to aligned rows, and would write out each row of an expanded one."""
    grid = TokenGrid((3, 12, 12), (1, 4, 4))
    q, k, v = (torch.randn(1, 2, grid.tokens + 7, 64) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 7)
    mask[..., -3:] = -torch.inf
    rows = []
    real = F.scaled_dot_product_attention

    def noted(*args, attn_mask=None, **kwargs):
        rows.append(None if attn_mask is None else attn_mask.shape[-2])
        return real(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    extents = torch.tensor([[1, 2, 1], [3, 1, 2]])
    with LiveMemory() as memory:
        window_attention(q, k, v, grid, extents, suffix=7, key_mask=mask, backend=backend, tail=True)
    assert set(rows) - {None} == {1}
    assert memory.largest < grid.tokens**2


def test_windows_beside_masked_text_copy_little(monkeypatch):
    """With the boxes' copies in the proportion that they have on a GPU, and as many heads."""
    grid, heads = TokenGrid((3, 24, 24), (1, 4, 4)), 16
    q, k, v = (torch.randn(1, heads, grid.tokens + 7, 64) for _ in range(3))
    mask = torch.zeros(1, 1, 1, grid.tokens + 7)
    mask[..., -3:] = -torch.inf
    monkeypatch.setitem(torch_boxes._MOST_KEY_ELEMENTS, "cpu", k.numel() // 10)
    extents = torch.tensor([[1, 3, 3], [3, 2, 2]] * (heads // 2))
    with LiveMemory() as memory:
        window_attention(q, k, v, grid, extents, suffix=7, key_mask=mask, backend="torch_boxes", tail=True)
    output = q.numel() * q.element_size()
    assert memory.peak - output < 0.6 * output


def test_scale_is_obeyed():
    grid = TokenGrid((2, 4, 4), (1, 2, 2))
    q, k, v = (torch.randn(1, 1, grid.tokens, 64) for _ in range(3))
    extents = torch.tensor([[1, 2, 1]])
    out = window_attention(q, k, v, grid, extents, scale=0.5, backend="torch_boxes")
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist(), scale=0.5)
    assert relative_error(out, expected) <= 1e-5


def test_boxes_of_an_extent_are_few_and_hold_every_query_once():
    grid = TokenGrid((30, 96, 160))
    for extent in ((6, 7, 12), (15, 6, 20), (4, 4, 4), (1, 1, 1)):
        batches = torch_boxes.boxes_of(grid, extent)
        assert len(batches) <= 27
        queries = sum(
            groups[0].count
            * groups[0].queries.length
            * groups[1].count
            * groups[1].queries.length
            * groups[2].count
            * groups[2].queries.length
            for groups in batches
        )
        assert queries == grid.tokens


@pytest.mark.parametrize("strides", [(2**31, 192), (0, 2**26)], ids=["batch", "token"])
def test_addresses_beyond_two_to_the_31_are_right(strides):
    """As with batch 2 of 460,800 tokens; memory that is never touched is never allocated."""
    grid = TokenGrid((2, 4, 5), (1, 2, 2))
    far, step = strides
    batch = 2 if far else 1
    memory = torch.empty(far + grid.tokens * step + 192, dtype=torch.float16)
    q, k, v = (
        memory.as_strided((batch, 1, grid.tokens, 64), (far, 64, step, 1), part * 64) for part in range(3)
    )
    for x in (q, k, v):
        x.copy_(torch.randn(x.shape))
    extents = torch.tensor([[1, 2, 2]])
    out = window_attention(q, k, v, grid, extents, backend="torch_boxes")
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist())
    assert relative_error(out, expected) <= TOLERANCE[torch.float16]


def many_layouts() -> list[tuple[Tensor, bool]]:
    """Masks for 2 videos, 3 heads, 20 tokens; and whether they are one per key."""
    per_key = torch.randn(2, 20)
    return [
        (per_key, True),
        (per_key[:1], True),
        (per_key[0], True),
        (per_key[:, None], True),
        (per_key[:, None, None], True),
        (per_key[:, None, None].expand(2, 3, 20, 20), True),
        (torch.randn(20, 20), False),
        (torch.randn(2, 20, 20), False),
        (torch.randn(2, 1, 20, 20), False),
        (torch.randn(2, 3, 1, 20), False),
        (torch.randn(2, 19), False),
        (torch.randn(5, 20), False),
    ]


@pytest.mark.parametrize(("mask", "applicable"), many_layouts())
def test_masks_are_reduced_to_keys_or_refused(mask: Tensor, applicable: bool):
    grid = TokenGrid((1, 4, 5), (1, 2, 2))
    q, k, v = (torch.randn(2, 3, 20, 64) for _ in range(3))
    extents = torch.ones(3, 3, dtype=torch.int32)
    if not applicable:
        with pytest.raises(WindowsNotApplicable, match="mask"):
            window_attention(q, k, v, grid, extents, key_mask=mask, backend="torch_boxes")
        return
    out = window_attention(q, k, v, grid, extents, key_mask=mask, backend="torch_boxes")
    bias = mask if mask.ndim == 2 else mask.reshape(-1, 20) if mask.ndim == 1 else mask.flatten(1, -2)[:, 0]
    expected = naive.attention(q, k, v, grid.shape, grid.tile, extents.tolist(), bias=bias.expand(2, 20))
    assert relative_error(out, expected) <= 1e-5


def test_calls_that_cannot_be_windowed_say_why():
    grid = TokenGrid((1, 4, 5), (1, 2, 2))
    q = torch.randn(1, 2, 20, 64)
    ones = torch.ones(2, 3, dtype=torch.int32)
    with pytest.raises(WindowsNotApplicable, match="21 tokens"):
        longer = torch.randn(1, 2, 21, 64)
        window_attention(longer, longer, longer, grid, ones)
    with pytest.raises(WindowsNotApplicable, match="self-attention"):
        window_attention(q, torch.randn(1, 2, 7, 64), torch.randn(1, 2, 7, 64), grid, ones)
    with pytest.raises(WindowsNotApplicable, match="3 heads"):
        window_attention(q, q, q, grid, torch.ones(3, 3, dtype=torch.int32))
    with pytest.raises(WindowsNotApplicable, match="larger than the grid"):
        window_attention(q, q, q, grid, ones * 4)


def test_a_backend_picked_by_hand_runs_or_says_why_not():
    grid = TokenGrid((1, 4, 4), (1, 2, 2))
    q = torch.randn(1, 1, 16, 64)
    one = torch.ones(1, 3, dtype=torch.int32)
    with pytest.raises(BackendRefused, match="choose auto, dense, torch_boxes, triton_windows"):
        window_attention(q, q, q, grid, one, backend="fastest")
    with pytest.raises(BackendRefused, match="'triton_windows' cannot be used: it runs on cuda"):
        window_attention(q, q, q, grid, one, backend="triton_windows")
