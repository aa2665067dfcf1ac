"""Mixture of LoRA experts on disjoint feature blocks, as one low-rank product."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from moeclip_med.model.architecture import ExpertsSpec

_NORM_FLOOR = 1e-6


class ExpertsOutput(NamedTuple):
    """What a mixture gives for tokens (..., width).

    Attributes:
        tokens: (..., width), the experts' output mixed into the tokens.
        probabilities: (..., K) float32, the router's softmax over all experts.
        weights: (..., K), the weight of each expert: 0 outside the top k, summing to 1.
        hidden: (..., K, rank), the tokens in each expert's low-rank space.
        up: (K, width, rank), the experts' B.
    """

    tokens: Tensor
    probabilities: Tensor
    weights: Tensor
    hidden: Tensor
    up: Tensor

    def first_half(self) -> ExpertsOutput:
        """What was given for the first half of the batch."""

        def half(part: Tensor) -> Tensor:
            first: Tensor = part.unflatten(0, (2, -1))[0]
            return first

        return ExpertsOutput(
            half(self.tokens), half(self.probabilities), half(self.weights), half(self.hidden), self.up
        )

    def output_gram(self) -> Tensor:
        """Cosines between the outputs of all experts, without forming the outputs.

        Output e is B_e z_e, so the product of two outputs is z_eᵀ (B_eᵀ B_f) z_f: everything stays in rank space.

        Returns:
            (..., K, K), float32, 1 on the diagonal.
        """
        up, hidden = self.up.float(), self.hidden.float()
        products = torch.einsum("ewr,fws->erfs", up, up)
        gram = torch.einsum("...er,erfs,...fs->...ef", hidden, products, hidden)
        length = gram.diagonal(dim1=-2, dim2=-1).clamp_min(_NORM_FLOOR**2).sqrt()
        return gram / (length.unsqueeze(-1) * length.unsqueeze(-2))


class ExpertMixture(nn.Module):
    """K LoRA experts behind a router; their mean, norm-matched, is mixed into the token.

    Every expert's rank-r projections lie side by side in one matrix, and the routing weights act there, between
    the two products: no token is gathered, scattered or visited twice. `down` is frozen: expert e sees only the
    e-th block of features, through orthonormal rows (FOFS).

    Attributes:
        router: (K, width), learned.
        down: (K, rank, width), the experts' A, frozen.
        up: (K, width, rank), the experts' B, learned.
    """

    down: Tensor

    def __init__(self, width: int, spec: ExpertsSpec) -> None:
        super().__init__()
        self.spec = spec
        rows = orthonormal_blocks if spec.disjoint else orthonormal_rows
        self.register_buffer("down", rows(width, spec.count, spec.rank))
        self.router = nn.Parameter(torch.randn(spec.count, width) * spec.router_start)
        self.up = nn.Parameter(torch.randn(spec.count, width, spec.rank) * spec.expert_start)

    def forward(self, tokens: Tensor) -> ExpertsOutput:
        """Mix the experts into tokens (..., width)."""
        # The experts' feature blocks are disjoint, so one dropout mask serves all as if each had its own.
        dropped = functional.dropout(tokens, self.spec.dropout, self.training)
        flat = functional.linear(dropped, self.down.flatten(0, 1))
        hidden = flat.reshape(*flat.shape[:-1], self.spec.count, self.spec.rank)
        probabilities = functional.linear(tokens, self.router).float().softmax(dim=-1)
        weights = self._route(probabilities).to(tokens.dtype)
        up = self.up.permute(1, 0, 2).flatten(1)
        mixed = functional.linear((hidden * weights.unsqueeze(-1)).flatten(-2), up) * (self.spec.alpha / self.spec.rank)
        length = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        mixed_length = torch.linalg.vector_norm(mixed, dim=-1, keepdim=True)
        # On CUDA autocast gives norms in float32; what flows on keeps the tokens' type.
        matched = (mixed * (length / (mixed_length + _NORM_FLOOR))).to(tokens.dtype)
        return ExpertsOutput(torch.lerp(tokens, matched, self.spec.mixing), probabilities, weights, hidden, self.up)

    def _route(self, probabilities: Tensor) -> Tensor:
        """Keep the k largest of (..., K) probabilities and let them sum to 1."""
        chosen = probabilities.topk(self.spec.top_k, dim=-1).indices
        experts = torch.arange(self.spec.count, device=probabilities.device)
        kept = probabilities * (chosen.unsqueeze(-1) == experts).any(dim=-2)
        return kept / kept.sum(dim=-1, keepdim=True)


def orthonormal_blocks(width: int, count: int, rank: int) -> Tensor:
    """Frozen orthonormal projections onto disjoint feature blocks (FOFS).

    Args:
        width: Number of features.
        count: Number of consecutive blocks they are cut into, one per expert.
        rank: Orthonormal rows per expert, from the QR decomposition of a Gaussian matrix.

    Returns:
        (count, rank, width), zero outside each expert's block.

    Raises:
        InputError: A block holds fewer features than the rank.
    """
    bounds = [width * index // count for index in range(count + 1)]
    if width // count < rank:
        raise InputError(
            f"architecture.experts: rank {rank} with {count} experts needs {rank * count} features, "
            f"the tower's level has {width}; lower rank or count."
        )
    down = torch.zeros(count, rank, width)
    for expert, (start, stop) in enumerate(itertools.pairwise(bounds)):
        basis, _ = torch.linalg.qr(torch.randn(stop - start, rank))
        down[expert, :, start:stop] = basis.T
    return down


def orthonormal_rows(width: int, count: int, rank: int) -> Tensor:
    """Frozen projections that see all features, for comparison with `orthonormal_blocks`.

    Returns:
        (count, rank, width), orthonormal rows for each expert.
    """
    return torch.stack([torch.linalg.qr(torch.randn(width, rank))[0].T for _ in range(count)])
