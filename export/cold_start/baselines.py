"""Simpler ways than the generator: at random, the mean of what is alike, ridge regression, content neighbours."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from export.cold_start.teacher import Examples, Teacher

RELATIVES = 10  # items whose mean is the vector of a new one


class Likeness:
    """How alike the content of items is: the cosine of their values, rare ones counting more."""

    def __init__(self, teacher: Teacher) -> None:
        sizes = teacher.content.amax(0) + 1
        row, field = torch.nonzero(teacher.content, as_tuple=True)
        column, shape = (
            (teacher.content + sizes.cumsum(0) - sizes)[row, field],
            (len(teacher.content), int(sizes.sum())),
        )
        rarity = torch.log(shape[0] / torch.bincount(column, minlength=shape[1]).clamp(min=1))
        length = torch.zeros(shape[0]).scatter_add(0, row, rarity[column] ** 2).sqrt().clamp(min=1e-6)
        values, index = rarity[column] / length[row], torch.stack([row, column])
        self._matrix = torch.sparse_coo_tensor(index, values, shape, check_invariants=True).coalesce()

    def __call__(self, index: Tensor) -> Tensor:
        """Return (n, V+1), of the items `index` with all."""
        return torch.sparse.mm(self._matrix, self._matrix.index_select(0, index).to_dense().T).T


def at_random(teacher: Teacher, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(teacher.table.shape, generator=generator), dim=1)


def relatives_mean(teacher: Teacher) -> Tensor:
    """Return the mean vector of the RELATIVES known items with the most similar content, weighed by it."""
    vectors, likeness = torch.zeros_like(teacher.table), Likeness(teacher)
    for index in torch.nonzero(~teacher.warm)[:, 0].split(512):
        alike, nearest = torch.topk(likeness(index) * teacher.warm, RELATIVES)
        vectors[index] = functional.normalize((alike[:, None, :] @ teacher.table[nearest])[:, 0], dim=1)
    return vectors


def ridge(teacher: Teacher, strength: float) -> Tensor:
    """Return vectors by ridge regression of the known items' vectors on their fields, one-hot, unknown among them."""
    fields = teacher.content[:, : teacher.field_count]
    sizes = fields.amax(0) + 1
    values, n = fields + sizes.cumsum(0) - sizes, int(sizes.sum())  # (V+1, F) numbers of all fields' values
    known, vectors = values[teacher.warm], teacher.table[teacher.warm]
    together = (known[:, :, None] * n + known[:, None, :]).flatten()
    product = torch.bincount(together, minlength=n * n).reshape(n, n).float() + strength * torch.eye(n)
    solution = torch.zeros(n, vectors.shape[1])
    for f in range(teacher.field_count):
        solution.index_add_(0, known[:, f], vectors)
    coefficients = torch.cholesky_solve(solution, torch.linalg.cholesky(product))
    return functional.normalize(coefficients[values].sum(1), dim=1)


def content_neighbours(teacher: Teacher, examples: Examples) -> Callable[[Tensor], Tensor]:
    """Return a score without vectors: content like that of the session's items, newer ones counting more."""
    likeness = Likeness(teacher)

    def score(index: Tensor) -> Tensor:
        own = examples.own[index]
        place = (own > 0).long().cumsum(1)
        back = place.amax(1, keepdim=True) - place
        weight = torch.exp(-back.float()) * (own > 0)
        items, where = torch.unique(own, return_inverse=True)
        of_items = torch.zeros(len(own), len(items)).scatter_add(1, where, weight)
        return of_items @ likeness(items)

    return score
