"""Trains the generator against a discriminator (`onnx_models.cold_start` has both networks), and exports it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from export.cold_start.teacher import Teacher
from export.sessions import Sessions
from export.to_onnx import OPSET
from export.training import Batches
from features.errors import ParityError
from onnx_models.cold_start import Discriminator, Generator, GeneratorConfig
from onnx_models.session import open_session
from onnx_models.session_ranker import NEVER

TOLERANCE = 1e-4


@dataclass(frozen=True)
class ColdConfig:
    epoch_count: int = 30
    rows_per_batch: int = 512
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    closeness: float = 1.0  # weight of the L1 distance from the warm vector
    adversarial: float = 0.1
    ranking: float = 1.0  # weight of the softmax over all items
    new_share: float = 0.5  # of a batch's items, pretended to be new
    discriminator_units: int = 128
    seed: int = 0


def generated(
    teacher: Teacher, sessions: Sessions, config: ColdConfig, watch: Callable[[int, Tensor], bool]
) -> tuple[Generator, Tensor]:
    """Return a generator trained on the known items, and the vectors (V+1, D) that it gives.

    `watch` sees the number of each epoch that is done and its vectors, and ends the training when it returns true.
    """
    torch.manual_seed(config.seed)
    fields = range(teacher.content.shape[1])
    warm = torch.nonzero(teacher.warm)[:, 0]
    sums, counts = [], []
    for f in fields:
        size, value = int(teacher.content[:, f].max()) + 1, teacher.content[warm, f]
        sums.append(torch.zeros(size, teacher.table.shape[1]).index_add(0, value, teacher.table[warm]))
        counts.append(torch.bincount(value, minlength=size))
    generator = Generator(GeneratorConfig(), sums, counts)
    discriminator = Discriminator(teacher.table.shape[1], config.discriminator_units)
    ranker = teacher.model.ranker.eval().requires_grad_(False)
    batches = Batches(sessions, ranker.config.max_length, config.rows_per_batch)
    generates, discriminates = (
        torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.5, 0.99)
        )
        for network in (generator, discriminator)
    )
    known_bias = torch.where(teacher.warm, teacher.bias, NEVER)
    new_bias = teacher.bias[teacher.warm].mean()
    random = np.random.default_rng(config.seed)
    for epoch in range(1, config.epoch_count + 1):
        generator.train()
        for index in batches.epoch(random):
            batch = batches.make(index)
            there = torch.unique(torch.cat([batch.item_seq.flatten(), batch.target]))
            # Pretended to be new, in the sessions as among what is ranked: so it is when an item comes.
            items = there[(there > 0) & (torch.rand(there.shape) < config.new_share)]
            real = teacher.table[items]
            generated_vectors = generator(teacher.content[items], real)
            table = teacher.table.index_copy(0, items, generated_vectors)
            ranked = ranker(batch.item_seq, batch.rows, table[batch.item_seq])
            bias = known_bias.index_fill(0, items, float(new_bias))
            logits = functional.linear(ranked.vector / ranker.config.temperature, table, bias)
            own = batch.item_seq[batch.rows[:, 0]]
            ranking = functional.cross_entropy(logits.scatter_add(1, own, ranked.repeat), batch.target)

            new = torch.isin(batch.target, items)
            if not new.any():  # of a small batch: there is nothing to discriminate
                continue
            where, query = torch.searchsorted(items, batch.target[new]), ranked.vector[new].detach()
            other = warm[torch.randint(len(warm), where.shape)]
            of_real = discriminator(query, real[where])
            apart = functional.softplus(discriminator(query, generated_vectors.detach()[where]) - of_real)
            above = functional.softplus(discriminator(query, teacher.table[other]) - of_real)
            discriminates.zero_grad()
            (apart + above).mean().backward()
            discriminates.step()
            deceived = functional.softplus(of_real.detach() - discriminator(query, generated_vectors[where])).mean()
            trust = teacher.count[items] / (teacher.count[items] + 2.0)  # a vector of few interactions says little
            close = ((generated_vectors - real).abs().sum(1) * trust).sum() / trust.sum()
            generates.zero_grad()
            (config.closeness * close + config.adversarial * deceived + config.ranking * ranking).backward()
            generates.step()
        generator.eval()
        with torch.no_grad():
            vectors = generator(teacher.content)
        if watch(epoch, vectors):
            break
    return generator.requires_grad_(False), vectors


def export_generator(generator: Generator, content: Tensor, path: Path) -> None:
    """Write the generator as ONNX, content (N, F) int64 to item_vectors (N, D), and check it against torch.

    Raises:
        ParityError: both answer differently.
    """
    generator = generator.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            generator,
            (content[1:3],),
            path,
            input_names=["content"],
            output_names=["item_vectors"],
            opset_version=OPSET,
            dynamic_shapes={"content": {0: torch.export.Dim("N", min=1)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = open_session(path)
    for N in (1, 2, 7, 64):
        sample = content[1 : N + 1]
        (vectors,) = session.run(None, {"content": sample.numpy()})
        difference = float((generator(sample) - torch.from_numpy(vectors)).abs().max())
        if difference > TOLERANCE:
            msg = f"{path}: {N} items: vectors differ by {difference:.2e} (allowed {TOLERANCE})"
            raise ParityError(msg)
