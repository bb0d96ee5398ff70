"""Trains the cold-start generator and compares it with simpler ways, on items that training never saw.

`python -m export.cold_start --data-dir FOLDER [--out FOLDER] [--json]`, on JData's views.

A teacher (a session ranker) gives session vectors and the vectors of known items; each way gives vectors to the items
that the teacher has not met. Whatever is chosen is chosen on the validation: its items that are not in the sessions
before it are as new there as those of the test.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from export.models import MODELS, Model, sized
from export.sessions import Sessions, Split
from export.splits import jdata_views
from export.to_onnx import OPSET
from export.training import Batches, TrainingConfig, train
from features.errors import DatasetError, ParityError
from onnx_models.cold_start import Discriminator, Generator, GeneratorConfig
from onnx_models.session_ranker import NEVER

CUTOFF = 20
TOLERANCE = 1e-4
RELATIVES = 10  # items whose mean is the vector of a new one
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
PATIENCE = 5  # epochs of the generator without a better validation
LEVELS = [step / 4 for step in range(-12, 5)]  # added to new items' logits, beside the mean bias


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


class Examples(NamedTuple):
    session: Tensor  # (N, D) unit vectors
    target: Tensor  # (N,)
    own: Tensor  # (N, T) items of the session, 0 = padding
    repeat: Tensor  # (N, T) what is added to their logits


@dataclass(frozen=True)
class Teacher:
    """What a way sees: a trained ranker, and which items it has met."""

    model: Model
    table: Tensor  # (V+1, D)
    bias: Tensor  # (V+1,)
    warm: Tensor  # (V+1,) bool
    count: Tensor  # (V+1,) interactions
    content: Tensor  # (V+1, F) int64, plain fields, then crossed ones
    field_count: int  # of the plain ones

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def of(cls, model: Model, sessions: Sessions, content: tuple[NDArray[np.int64], ...]) -> "Teacher":
        count = torch.from_numpy(np.bincount(sessions.items, minlength=len(content[0])))
        count[0] = 0
        return cls(model, model.table(), model.items.bias.detach(), count > 0, count, crossed(content), len(content))


def crossed(content: tuple[NDArray[np.int64], ...]) -> Tensor:
    """Return (V+1, F): each field, each pair of fields, and all together, by number; 0 where one is unknown."""
    fields = list(content)
    known = [c > 0 for c in content]
    groups = [(a, b) for a in range(len(content)) for b in range(a)]
    if len(content) > 2:
        groups.append(tuple(range(len(content))))  # type: ignore[arg-type]
    for group in groups:
        joint = np.stack([content[f] for f in group], axis=1)
        there = np.all([known[f] for f in group], axis=0)
        number = np.unique(joint, axis=0, return_inverse=True)[1].reshape(-1) + 1
        fields.append(np.where(there, number, 0))
    return torch.from_numpy(np.stack(fields, axis=1).astype(np.int64))


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def examples_of(teacher: Teacher, sessions: Sessions, table: Tensor) -> Examples:
    """Return all places of sessions as examples, their items with the vectors of `table`."""
    ranker = teacher.model.ranker.eval()
    batches = Batches(sessions, ranker.config.max_length, 1_024)
    T = ranker.config.max_length
    parts = []
    for index in batches.epoch(None):
        batch = batches.make(index)
        ranked = ranker(batch.item_seq, batch.rows, table[batch.item_seq])
        wide = T - batch.item_seq.shape[1]
        own = functional.pad(batch.item_seq[batch.rows[:, 0]], (0, wide))
        parts.append((ranked.vector, batch.target, own, functional.pad(ranked.repeat, (0, wide))))
    return Examples(*map(torch.cat, zip(*parts, strict=True)))


class Judged(NamedTuple):
    """Hit rate and NDCG at CUTOFF."""

    mixed: tuple[float, float]  # new targets among all items
    cold: tuple[float, float]  # new targets among new items
    warm: tuple[float, float]  # known targets among all items
    new_count: int


def _figures(rank: Tensor) -> tuple[float, float]:
    hit = (rank <= CUTOFF).float()
    return float(hit.mean()), float((hit / torch.log2(rank.float() + 1)).mean())


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def judge_scores(score: Callable[[Tensor], Tensor], examples: Examples, warm: Tensor) -> Judged:
    """Return the figures of `score`, which gives (n, V+1) for the examples `index` (n,); ties count against it."""
    ranks_mixed, ranks_cold = [], []
    for index in torch.arange(len(examples.target)).split(256):
        scores = score(index)
        scores[:, 0] = NEVER
        of_target = scores.gather(1, examples.target[index][:, None])
        at_least = scores >= of_target
        ranks_mixed.append(at_least.sum(1))
        ranks_cold.append((at_least & ~warm).sum(1))
    mixed, cold, new = torch.cat(ranks_mixed), torch.cat(ranks_cold), ~warm[examples.target]
    return Judged(_figures(mixed[new]), _figures(cold[new]), _figures(mixed[~new]), int(new.sum()))


def judge(teacher: Teacher, vectors: Tensor, level: float, sessions: Sessions) -> Judged:
    """Return the figures of the teacher when new items have rows `vectors` (V+1, D), their logits raised by `level`."""
    table = torch.where(teacher.warm[:, None], teacher.table, vectors).index_fill(0, torch.tensor([0]), 0.0)
    bias = torch.where(teacher.warm, teacher.bias, teacher.bias[teacher.warm].mean() + level)
    examples = examples_of(teacher, sessions, table)
    temperature = teacher.model.ranker.config.temperature

    def score(index: Tensor) -> Tensor:
        logits = functional.linear(examples.session[index] / temperature, table, bias)
        return logits.scatter_add(1, examples.own[index], examples.repeat[index])

    return judge_scores(score, examples, teacher.warm)


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


class Way(NamedTuple):
    """A way to give vectors to new items, as the validation chose it."""

    name: str
    chosen: str  # in words
    level: float
    make: Callable[[Teacher], Tensor]


def best_level(teacher: Teacher, vectors: Tensor, sessions: Sessions, least_warm: float) -> tuple[float, Judged]:
    """Return the level of the best mixed figures at which known targets are hit as often as without new items.

    Where there is none, it is the lowest level.
    """
    judged = [(level, judge(teacher, vectors, level, sessions)) for level in LEVELS]
    allowed = [(level, choice) for level, choice in judged if choice.warm[0] >= least_warm] or judged[:1]
    return max(allowed, key=lambda choice: sum(choice[1].mixed))


def choose(
    teacher: Teacher, fitted: Sessions, validation: Sessions, config: ColdConfig
) -> tuple[list[Way], int, float]:
    """Return the simple ways with what the validation chose for each, and the generator's epochs and level."""
    least_warm = judge(teacher, at_random(teacher, config.seed), NEVER, validation).warm[0]
    level, _ = best_level(teacher, at_random(teacher, config.seed), validation, least_warm)
    ways = [Way("random", "", level, lambda t: at_random(t, config.seed))]
    level, _ = best_level(teacher, relatives_mean(teacher), validation, least_warm)
    ways.append(Way("mean of content neighbours", f"{RELATIVES} neighbours", level, relatives_mean))
    tried = [(s, *best_level(teacher, ridge(teacher, s), validation, least_warm)) for s in RIDGES]
    strength, level, _ = max(tried, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
    ways.append(Way("ridge regression", f"strength {strength:g}", level, lambda t: ridge(t, strength)))
    epochs: list[tuple[int, float, Judged]] = []

    def watch(epoch: int, vectors: Tensor) -> bool:
        epochs.append((epoch, *best_level(teacher, vectors, validation, least_warm)))
        best = max(epochs, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
        return epoch - best[0] >= PATIENCE

    generated(teacher, fitted, config, watch)
    epoch, level, _ = max(epochs, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
    return ways, epoch, level


def compare(
    split: Split, runs: Path, device: torch.device, config: ColdConfig
) -> tuple[dict[str, Any], Generator, Tensor]:
    """Return the figures of each way on the test sessions, chosen on the validation, with one teacher for all.

    Also returns the generator, and the content (V+1, F) that it was trained on.
    """
    model_config = sized(MODELS["graph"], split.item_count)
    folder = runs / f"graph-{split.name}-{config.seed}"
    before, after = train(split, model_config, TrainingConfig(seed=config.seed), folder, device)
    fitted, validation = split.cut()
    ways, epochs, level = choose(Teacher.of(before.model, fitted, split.content), fitted, validation, config)
    teacher = Teacher.of(after.model, split.train, split.content)
    generator, vectors = generated(teacher, split.train, replace(config, epoch_count=epochs), lambda *_: False)
    ways.append(Way("generator", f"{epochs} epochs", level, lambda _: vectors))
    none = judge(teacher, at_random(teacher, config.seed), NEVER, split.test)
    rows: list[dict[str, Any]] = [{"way": "none: new items are never ranked", "warm": none.warm}]
    for way in ways:
        judged = judge(teacher, way.make(teacher), way.level, split.test)
        rows.append(
            {"way": way.name, "chosen": way.chosen, "level": way.level, "mixed": judged.mixed, "cold": judged.cold}
            | {"warm": judged.warm}
        )
    examples = examples_of(teacher, split.test, teacher.table)
    judged = judge_scores(content_neighbours(teacher, examples), examples, teacher.warm)
    rows.append({"way": "content kNN", "mixed": judged.mixed, "cold": judged.cold, "warm": judged.warm})
    new_items = int((~teacher.warm[1:]).sum())
    figures = {"cutoff": CUTOFF, "new_targets": judged.new_count, "new_items": new_items, "ways": rows}
    return figures, generator, teacher.content


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
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for N in (1, 2, 7, 64):
        sample = content[1 : N + 1]
        (vectors,) = session.run(None, {"content": sample.numpy()})
        difference = float((generator(sample) - torch.from_numpy(vectors)).abs().max())
        if difference > TOLERANCE:
            msg = f"{path}: {N} items: vectors differ by {difference:.2e} (allowed {TOLERANCE})"
            raise ParityError(msg)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="export.cold_start", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of JData's files")
    parser.add_argument(
        "--out", type=Path, default=Path(".local/models/cold-start-jdata"), help="folder of the generator"
    )
    parser.add_argument("--runs", type=Path, default=Path(".local/runs"), help="folder of checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    console = Console(stderr=options.json)
    try:
        split, _ = jdata_views(options.data_dir)
    except DatasetError as error:
        console.print(f"[red]{error}")
        return 1
    results, generator, content = compare(
        split, options.runs, torch.device(options.device), ColdConfig(seed=options.seed)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    export_generator(generator, content, options.out / "generator.onnx")
    (options.out / "figures.json").write_text(json.dumps(results, indent=1) + "\n")
    title = f"{split.name}: {results['new_targets']} new targets, {results['new_items']:,} new items; HR@20, NDCG@20, %"
    table = Table("way", "among all", "among new", "known targets", title=title)
    for way in results["ways"]:
        figures = [way.get(name) for name in ("mixed", "cold", "warm")]
        table.add_row(way["way"], *("" if f is None else f"{100 * f[0]:.2f} / {100 * f[1]:.2f}" for f in figures))
    console.print(table)
    console.print(f"the generator -> {options.out / 'generator.onnx'}")
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
