"""A shop's own catalogue, from files onto the topic."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from features.sources.simulator import shop
from features.spec import CONTENT_DIM
from infra.local.vocabulary import overlap
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.control.item_records import newest_items
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.schemas import Item, Topic

pytestmark = pytest.mark.usefixtures("commands_on_cluster")
ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
CONTENT = [0.5] * CONTENT_DIM


def load(file: Path, *options: str) -> tuple[int, Any, str]:
    result = CliRunner().invoke(app, ["items", "load", str(file), *options, "--json"])
    last = result.stdout.splitlines()[-1:]
    return result.exit_code, json.loads(last[0]) if last and last[0].startswith("{") else None, result.stderr


def on_topic(cluster: Cluster) -> dict[str, Item]:
    return newest_items(read_topic(cluster, Topic.ITEMS))[0]


def test_csv_with_columns_of_its_own_is_loaded_once_and_changes_alone_later(cluster: Cluster, tmp_path: Path) -> None:
    file, columns = tmp_path / "products.csv", tmp_path / "columns.yaml"
    file.write_text(
        "\ufeffsku;title;group;price;qty;vector;colour\n"
        f'7;"Tea; green";tea;9.5;3;"{json.dumps(CONTENT)}";red\n'
        "a-1;Mug;mugs;;0;;blue\n"
        "bad;Mug;mugs;12,50;1;;\n"
        "bad2;Mug;mugs;-1;1;;\n"
        "bad3;Mug;mugs;x;1;;\n"
        "short;Mug\n"
        "no-list;Mug;mugs;1;1;[1,;\n"
        "a-1;Mug, blue;mugs;4;2;;blue\n",
        encoding="utf-8",
    )
    columns.write_text("item_id: sku\nname: title\ncategory: group\nstock: qty\n")
    options = "--columns", str(columns), "--column", "content=vector", "--delimiter", ";"
    code, figures, said = load(file, *options)
    assert code == 1
    assert {name: figures[name] for name in ("lines", "written", "unchanged", "repeated", "removed", "refused")} == {
        "lines": 8,
        "written": 3,
        "unchanged": 0,
        "repeated": 1,
        "removed": 0,
        "refused": 5,
    }
    assert figures["refusals"] == {
        "Expected `float | null`, got `str` - at `$.price`": {"count": 2, "first_line": 3},
        "Expected `float` >= 0.0 - at `$.price`": {"count": 1, "first_line": 4},
        "it has 2 fields, the first line 7": {"count": 1, "first_line": 6},
        "`content` is no JSON list": {"count": 1, "first_line": 7},
    }
    assert "refused 2, line 3 the first: Expected `float | null`, got `str` - at `$.price`" in said
    tea, mug = on_topic(cluster)["7"], on_topic(cluster)["a-1"]
    assert (tea.name, tea.price, tea.stock, tea.content) == ("Tea; green", 9.5, 3, tuple(CONTENT))
    assert (mug.name, mug.price, mug.stock, mug.content) == ("Mug, blue", 4.0, 2, None)  # the last line counts
    code, figures, _ = load(file, *options, "--replace")
    # The mug's first line changes what its second had left, and the second changes it back.
    assert (code, figures["written"], figures["unchanged"]) == (1, 2, 1)


def test_what_the_file_does_not_have_goes_off_sale_where_that_is_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "shop.jsonl"
    lines = [{"item_id": n, "name": f"Item {n}", "category": "x", "price": n, "other": None} for n in range(3)]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    before = on_topic(cluster)
    assert load(file)[0] == 0
    assert on_topic(cluster).keys() == before.keys() | {"0", "1", "2"}
    file.write_text(file.read_text() + "[]\n{\n")
    code, figures, said = load(file, "--replace")
    assert (code, figures["refusals"]) == (1, {"it is no JSON object": {"count": 2, "first_line": 4}})
    assert "nothing is removed while lines are refused" in said
    assert on_topic(cluster).keys() > {"0", "1", "2"}
    file.write_text("\n".join(map(json.dumps, lines)))
    code, figures, _ = load(file, "--replace")
    assert (code, figures["unchanged"], figures["removed"]) == (0, 3, len(before))
    assert on_topic(cluster).keys() == {"0", "1", "2"}


def test_parquet_is_loaded_as_tables_have_it(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "shop.parquet"
    pl.DataFrame(
        {
            "item_id": [1, 2],
            "name": ["One", None],
            "category": pl.Series(["tea", "tea"], dtype=pl.Categorical),
            "price": [2.5, float("nan")],
            "stock": [4.0, 1.0],
            "content": [CONTENT, None],
            "updated_time_ms": pl.Series([1_700_000_000_000, None], dtype=pl.Datetime("ms")),
        }
    ).write_parquet(file)
    code, figures, _ = load(file)
    assert (code, figures["written"]) == (1, 1)
    assert figures["refusals"] == {"Object missing required field `name`": {"count": 1, "first_line": 2}}
    one = on_topic(cluster)["1"]
    assert (one.category, one.price, one.stock, one.updated_time_ms) == ("tea", 2.5, 4, 1_700_000_000_000)
    assert one.content == tuple(CONTENT)


@pytest.mark.parametrize(
    ("name", "text", "options", "error"),
    [
        ("x.csv", "sku;name\n", (), "has no column item_id, name, category; it has sku;name. Say"),
        ("x.csv", "sku,name,category\n", (), "it has category, name, sku. Say --column item_id=COLUMN"),
        ("x.csv", "sku,name\n", ("--column", "item_id=nr"), "has no column nr; it has name, sku"),
        ("x.csv", "sku,name\n", ("--column", "colour=nr"), "an item has no field colour"),
        ("x.csv", "sku,name\n", ("--column", "colour"), "expected FIELD=COLUMN"),
        ("x.csv", "sku,name\n", ("--delimiter", "::"), "expected one character"),
        ("x.csv", "", (), "has no column item_id, name, category; it has "),
        ("x.jsonl", "{}\n", (), "has no column item_id, name, category"),
        ("x.parquet", "PAR1", (), "cannot be read"),
        ("x.xlsx", "", (), "expected .csv, .jsonl or .parquet"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_to_be_said(
    name: str, text: str, options: tuple[str, ...], error: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    code, _, said = load(tmp_path / name, *options)
    assert code == 2
    assert error in " ".join(said.replace("│", " ").split())


def test_a_file_in_another_encoding_loses_only_the_lines_that_need_it(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes("item_id,name,category\nplain,Cup,tea\nn1,Sch\xe4lchen,tea\n".encode("latin-1"))
    code, figures, _ = load(file)
    assert (code, figures["written"], figures["refusals"]) == (
        1,
        1,
        {"it is not UTF-8": {"count": 1, "first_line": 2}},
    )
    assert "plain" in on_topic(cluster)


def test_where_model_and_shop_do_not_meet_is_told(cluster: Cluster, tmp_path: Path) -> None:
    empty, ours, in_stock = tmp_path / "none.jsonl", shop.items(), [item for item in shop.items() if item.stock > 0]
    empty.write_text('{"item_id": "foreign", "name": "x", "category": "x", "stock": 0}\n')
    load(empty, "--replace")
    assert "nothing is on sale" in str(overlap(cluster, ARTIFACT))
    empty.write_text(empty.read_text().replace('"stock": 0', '"stock": 5'))
    load(empty)
    nothing_in_common = overlap(cluster, ARTIFACT)
    assert (nothing_in_common, nothing_in_common.is_empty) == ((1, 0, len(ours)), True)
    assert "1 on sale, 0 of which the model knows; it knows 2,000, so slates are empty" in str(nothing_in_common)
    with Feed(cluster) as feed:
        feed.raw(Topic.ITEMS, "unreadable", b"{")
        feed.new_items(ours)
    both = overlap(cluster, ARTIFACT)
    assert (both, both.is_empty) == ((len(in_stock) + 1, len(in_stock), len(ours)), False)
