"""All public logs that can be replayed, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from features.sources.datasets import completejourney, diginetica, jdata, otto, rees46, retailrocket, taobao, yoochoose
from features.sources.datasets.log import Log


class Dataset(NamedTuple):
    open_log: Callable[[Path | None], Log]
    files: str  # what its folder holds


DATASETS = {
    module.NAME: Dataset(module.open_log, module.FILES)
    for module in (jdata, taobao, diginetica, retailrocket, yoochoose, rees46, otto, completejourney)
}
