"""Experts: the single low-rank product equals K experts run one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from moeclip_transforms.errors import InputError
from sentences import facts
from torch.nn import functional

from moeclip_med.model.architecture import ExpertsSpec
from moeclip_med.model.experts import ExpertMixture, orthonormal_blocks, orthonormal_rows
from moeclip_med.model.losses import balance_loss, etf_loss, output_gram

WIDTH = 48


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    return ExpertMixture(WIDTH, ExpertsSpec(count=4, top_k=2, rank=8)).eval()


@pytest.fixture
def tokens():
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(1))


def one_by_one(mixture, tokens):
    """The definition: each expert alone, the router's top k renormalised, norms matched, mixed in."""
    spec = mixture.spec
    outputs = torch.stack(
        [tokens @ mixture.down[e].T @ mixture.up[e].T * spec.alpha / spec.rank for e in range(spec.count)], dim=-2
    )
    probabilities = (tokens @ mixture.router.T).softmax(dim=-1)
    top = probabilities.topk(spec.top_k, dim=-1)
    weights = torch.zeros_like(probabilities).scatter(-1, top.indices, top.values / top.values.sum(-1, keepdim=True))
    mixed = (weights.unsqueeze(-1) * outputs).sum(dim=-2)
    matched = mixed * tokens.norm(dim=-1, keepdim=True) / (mixed.norm(dim=-1, keepdim=True) + 1e-6)
    return spec.mixing * matched + (1 - spec.mixing) * tokens, outputs


@torch.no_grad()
def test_one_product_equals_the_experts_one_by_one(mixture, tokens):
    expected, _ = one_by_one(mixture, tokens)
    output = mixture(tokens)
    torch.testing.assert_close(output.tokens, expected, atol=1e-6, rtol=1e-5)
    assert ((output.weights > 0).sum(dim=-1) == 2).all()
    torch.testing.assert_close(output.weights.sum(dim=-1), torch.ones(2, 7))
    torch.testing.assert_close(output.probabilities.sum(dim=-1), torch.ones(2, 7))


@torch.no_grad()
def test_cosines_between_experts_need_no_outputs(mixture, tokens):
    _, outputs = one_by_one(mixture, tokens)
    torch.testing.assert_close(mixture(tokens).output_gram(), output_gram(outputs), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_ties_still_choose_k_experts(tokens):
    tied = ExpertMixture(WIDTH, ExpertsSpec(router_start=0.0))
    assert ((tied(tokens).weights > 0).sum(dim=-1) == 2).all()


@torch.no_grad()
def test_the_norm_is_matched_so_alpha_has_no_effect(tokens):
    torch.manual_seed(0)
    small = ExpertMixture(WIDTH, ExpertsSpec(alpha=16.0)).eval()
    torch.manual_seed(0)
    large = ExpertMixture(WIDTH, ExpertsSpec(alpha=64.0)).eval()
    torch.testing.assert_close(small(tokens).tokens, large(tokens).tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "count", "rank"), [(48, 4, 8), (50, 4, 8), (352, 4, 8), (1024, 3, 16)])
def test_each_expert_sees_its_own_block_through_orthonormal_rows(width, count, rank):
    down = orthonormal_blocks(width, count, rank)
    for expert in range(count):
        torch.testing.assert_close(down[expert] @ down[expert].T, torch.eye(rank), atol=1e-5, rtol=0)
    seen = (down != 0).any(dim=1)
    assert (seen.sum(dim=0) == 1).all()
    flat = down.flatten(0, 1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(count * rank), atol=1e-5, rtol=0)


def test_blocks_smaller_than_the_rank_are_refused():
    with pytest.raises(InputError) as error:
        orthonormal_blocks(24, 4, 8)
    assert facts(error.value) == facts(
        "architecture.experts: rank 8 with 4 experts needs 32 features, the tower's level has 24; lower rank or count."
    )


def test_dropout_acts_in_training_only(mixture, tokens):
    strong = ExpertMixture(WIDTH, replace(mixture.spec, dropout=0.5))
    strong.load_state_dict(mixture.state_dict())
    torch.testing.assert_close(strong.eval()(tokens).tokens, mixture(tokens).tokens)
    assert not torch.allclose(strong.train()(tokens).tokens, mixture(tokens).tokens)


def test_balance_is_zero_when_all_experts_are_used_alike_and_grows_when_one_takes_all():
    even = torch.full((3, 5, 4), 0.25)
    one = functional.one_hot(torch.zeros(3, 5, dtype=torch.long), 4).float()
    assert balance_loss(even) == pytest.approx(0, abs=1e-9)
    # All on one of four: mean n/4, unbiased standard deviation n/2, so (2)² = 4.
    assert balance_loss(one) == pytest.approx(4, abs=1e-3)


def test_etf_is_zero_for_a_simplex_and_positive_for_parallel_experts():
    simplex = torch.eye(4) - 0.25
    assert etf_loss(output_gram(simplex)) == pytest.approx(0, abs=1e-9)
    assert etf_loss(output_gram(torch.ones(4, 8))) == pytest.approx((4 / 3) ** 2 * 12 / 16)


def test_without_fofs_every_expert_sees_all_features():
    rows = orthonormal_rows(WIDTH, 4, 8)
    assert rows.shape == (4, 8, WIDTH)
    assert (rows != 0).any(dim=1).all()
    torch.testing.assert_close(rows @ rows.transpose(1, 2), torch.eye(8).expand(4, 8, 8), atol=1e-5, rtol=0)
    shared = ExpertMixture(WIDTH, ExpertsSpec(disjoint=False))
    assert (shared.down != 0).any(dim=1).all()
