"""`python -m export.cold_start --data-dir FOLDER [--out FOLDER] [--json]`: train the cold-start generator, compare it.

On JData's views. A teacher (a session ranker) gives session vectors and the vectors of known items; each way gives
vectors to the items that the teacher has not met.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from export.cold_start.comparison import compare
from export.cold_start.generator import ColdConfig, export_generator
from export.splits import jdata_views
from features.errors import DatasetError


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
        console.print(f"{error}", style="red", markup=False, emoji=False)
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
