"""Public logs as streams: the real ones beside the checkout, the others as small files in their documented form."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from support.data import DATA, needs_data

from features.errors import DatasetError
from features.interaction import Interaction, Kind
from features.sources.datasets.log import Log, log
from features.sources.datasets.registry import DATASETS

REAL = {"jdata": "jdata_micro", "taobao": "taobao_userbehavior_slice", "diginetica": "diginetica_raw_sample"}


def kinds(log: Log) -> dict[str, int]:
    return dict(Counter(interaction.kind.value for interaction in log.interactions()))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", "-").replace("_dot_", ".")).write_text(text)
    return folder


@needs_data
@pytest.mark.parametrize(
    ("name", "expected", "filtered"),
    [
        ("jdata", {"view": 27_161, "purchase": 2_164, "favourite": 505}, {"kind comment": 530}),
        ("taobao", {"view": 85_773, "add_to_cart": 5_292, "favourite": 2_959, "purchase": 2_144}, {}),
        ("diginetica", {"view": 12_391, "purchase": 256}, {}),
    ],
)
def test_real_log_is_whole(name: str, expected: dict[str, int], filtered: dict[str, int]) -> None:
    log = DATASETS[name].open_log(DATA / REAL[name])
    assert kinds(log) == expected
    assert log.filtered == filtered
    assert log.rows == len(log) + sum(filtered.values())
    interactions = list(log.interactions())
    times = [interaction.event_time_ms for interaction in interactions]
    assert times == sorted(times)
    assert log.span_ms == (times[0], times[-1])
    assert len({interaction.event_id for interaction in interactions}) == len(log)
    assert {interaction.item_id for interaction in interactions} <= {interaction.item_id for interaction in log.items()}


@needs_data
def test_diginetica_keeps_the_distances_of_a_session_that_lasts_for_days() -> None:
    log = DATASETS["diginetica"].open_log(DATA / REAL["diginetica"])
    session = [interaction for interaction in log.interactions() if interaction.session_id == "156"]
    assert session[0].event_time_ms == 1_462_579_200_000 + 7_784  # 2016-05-07, and the first query's distance
    assert session[-1].event_time_ms == 1_462_579_200_000 + 1_721_689_387


def test_complete_journey_comes_from_its_package() -> None:
    log = DATASETS["completejourney"].open_log(None)
    first = next(log.interactions())
    assert (log.rows, len(log), log.filtered) == (1_469_307, 1_460_438, {"quantity below 1": 8_869})
    assert (first.kind, first.shopper_id, first.session_id, first.price) == (
        Kind.PURCHASE,
        "completejourney-900",
        "31198570044",
        0.5,
    )
    assert log.items()[0].category == "FRZN ICE"


def test_taobao_in_its_original_form(tmp_path: Path) -> None:
    rows = ["1,10,7,pv,1511544070", "1,11,7,cart,1511544075", "2,10,7,buy,1511544071", "1,10,7,fav,1511550000"]
    write(tmp_path, UserBehavior_dot_csv="\n".join([*rows, "3,12,7,look,1511544072", "3,12,7,pv,soon"]))
    log = DATASETS["taobao"].open_log(tmp_path)
    assert [
        (interaction.shopper_id, interaction.kind.value, interaction.event_id) for interaction in log.interactions()
    ] == [
        ("taobao-1", "view", "taobao-0"),
        ("taobao-2", "purchase", "taobao-2"),
        ("taobao-1", "add_to_cart", "taobao-1"),
        ("taobao-1", "favourite", "taobao-3"),
    ]
    assert log.filtered == {"kind look": 1, "without a readable time": 1}
    sessions = [interaction.session_id for interaction in log.interactions() if interaction.shopper_id == "taobao-1"]
    assert sessions == ["1-0", "1-0", "1-1"]  # cut after 30 minutes without anything


def test_diginetica_in_both_spellings_of_its_original_form(tmp_path: Path) -> None:
    for spelling in ("sessionId;userId;itemId;timeframe;eventdate", "session_id;user_id;item_id;timeframe;eventdate"):
        write(
            tmp_path,
            train__item__views_dot_csv=f"{spelling}\n1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09",
            train__purchases_dot_csv=(
                "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n1;NA;1100000;2016-05-09;16421;31331"
            ),
            product__categories_dot_csv="itemId;categoryId\n81766;1096\n31331;243",
            products_dot_csv="itemId;pricelog2;product.name.tokens\n81766;10;4875,776\n31331;3;1",
        )
        log = DATASETS["diginetica"].open_log(tmp_path)
        assert [
            (interaction.item_id, interaction.kind.value, interaction.shopper_id) for interaction in log.interactions()
        ] == [
            ("81766", "view", "diginetica-session-1"),
            ("31331", "view", "diginetica-session-1"),
            ("31331", "purchase", "diginetica-session-1"),
        ]
        assert [(interaction.item_id, interaction.category, interaction.price) for interaction in log.items()] == [
            ("81766", "1096", 1024.0),
            ("31331", "243", 8.0),
        ]


def test_retailrocket_in_its_original_form(tmp_path: Path) -> None:
    write(
        tmp_path,
        events_dot_csv="timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n1433224214164,992329,addtocart,248676,\n"
        "1433221999827,599528,transaction,356475,4000",
        item_properties_part1_dot_csv="timestamp,itemid,property,value\n1435460400000,355908,categoryid,1338\n"
        "1441508400000,355908,categoryid,1400\n1439089200000,355908,400,n552.000",
    )
    log = DATASETS["retailrocket"].open_log(tmp_path)
    assert kinds(log) == {"view": 1, "purchase": 1, "add_to_cart": 1}
    assert [(interaction.item_id, interaction.category) for interaction in log.items()] == [
        ("355908", "1400"),
        ("248676", "unknown"),
        ("356475", "unknown"),
    ]


def test_yoochoose_in_its_original_form(tmp_path: Path) -> None:
    write(
        tmp_path,
        yoochoose__clicks_dot_dat="1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S",
        yoochoose__buys_dot_dat="1,2014-04-07T10:55:00.000Z,214536500,12462,2\n"
        "1,2014-04-07T10:55:01.000Z,214536502,0,0",
    )
    first, second, bought, gift = DATASETS["yoochoose"].open_log(tmp_path).interactions()
    assert first.event_time_ms == 1_396_867_869_277
    assert (first.category, second.category) == ("", "S")
    assert (bought.kind, bought.price, bought.quantity, bought.value) == (Kind.PURCHASE, 12_462.0, 2, 24_924.0)
    assert (gift.price, gift.quantity) == (None, 1)


def test_rees46_in_its_original_form(tmp_path: Path) -> None:
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    rows = [
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
        "2019-10-01 00:00:05 UTC,cart,1004856,2053013555631882655,electronics.smartphone,samsung,130.76,1,a",
        "2019-10-01 00:00:06 UTC,remove_from_cart,1004856,2053013555"
        "631882655,electronics.smartphone,samsung,130.76,1,a",
        "2019-10-01 00:00:09 UTC,purchase,1004856,2053013555631882655,electronics.smartphone,samsung,130.76,1,a",
    ]
    write(tmp_path, **{"2019__Oct_dot_csv": "\n".join([header, *rows])})
    log = DATASETS["rees46"].open_log(tmp_path)
    assert kinds(log) == {"view": 1, "add_to_cart": 1, "purchase": 1}
    assert log.filtered == {"kind remove_from_cart": 1}
    last = list(log.interactions())[-1]
    assert (last.event_time_ms, last.category, last.brand, last.price) == (
        1_569_888_009_000,
        "electronics.smartphone",
        "samsung",
        130.76,
    )


def test_otto_in_its_original_form(tmp_path: Path) -> None:
    write(
        tmp_path,
        train_dot_jsonl='{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"},'
        '{"aid":1563459,"ts":1659304904511,"type":"carts"}]}\n'
        '{"session":1,"events":[{"aid":424964,"ts":1659304800100,"type":"orders"}]}',
    )
    log = DATASETS["otto"].open_log(tmp_path)
    assert [(interaction.shopper_id, interaction.kind.value) for interaction in log.interactions()] == [
        ("otto-0", "view"),
        ("otto-1", "purchase"),
        ("otto-0", "add_to_cart"),
    ]


@pytest.mark.parametrize(
    ("name", "file", "text", "found", "expected"),
    [
        ("taobao", "UserBehavior.csv", "1,2,3\n", "3 columns (1, 2, 3)", "user_id, item_id, category_id"),
        ("diginetica", "train-item-views.csv", "a;b\n1;2\n", "the columns are a, b", "session_id, user_id, item_id"),
        ("retailrocket", "events.csv", "timestamp,visitor\n1,2\n", "the columns are timestamp, visitor", "visitorid"),
        ("yoochoose", "yoochoose-clicks.dat", "1,2\n", "2 columns (1, 2)", "session, time, item, category"),
        ("rees46", "2019-Oct.csv", "event_time,brand\n1,2\n", "the columns are event_time, brand", "user_session"),
        ("otto", "train.jsonl", '{"user": 1}\n', "the columns are user", "session, events"),
        ("otto", "train.jsonl", "not json\n", "is not a JSON object", "session, events"),
        ("jdata", "events.parquet", "text", "is not a Parquet file", "download it anew"),
        ("taobao", "UserBehavior.csv", "", "is empty", "download it anew"),
    ],
)
def test_wrong_file_is_one_clear_error(
    tmp_path: Path, name: str, file: str, text: str, found: str, expected: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError) as error:
        DATASETS[name].open_log(tmp_path)
    for words in (str(tmp_path / file), found, expected):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("taobao", "UserBehavior.csv", "1,10,7,pv,1511544070\n1,10,7,pv,1511544070,extra\n"),
        ("otto", "train.jsonl", '{"session":0,"events":[]}\n{"session":1,"ev\n'),
        ("retailrocket", "events.csv", 'timestamp,visitorid,event,itemid\n1,2,"view,3\n'),
    ],
)
def test_file_that_breaks_off_is_named(tmp_path: Path, name: str, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError, match="cannot be read to its end") as error:
        DATASETS[name].open_log(tmp_path)
    assert str(tmp_path / file) in str(error.value)


def test_wrong_parquet_columns_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1]}).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(DatasetError, match=r"the columns are user; expected user_id, .*missing"):
        DATASETS["taobao"].open_log(tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "completejourney"])
def test_folder_without_the_log_says_what_it_holds(tmp_path: Path, name: str) -> None:
    write(tmp_path, readme_dot_txt="x")
    with pytest.raises(DatasetError, match=r"it holds readme.txt; expected .* of the log"):
        DATASETS[name].open_log(tmp_path)
    with pytest.raises(DatasetError, match="no folder is named"):
        DATASETS[name].open_log(None)


def test_file_can_be_named_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"session":0,"events":[{"aid":1,"ts":1659304800025,"type":"clicks"}]}')
    assert [
        interaction.item_id for interaction in DATASETS["otto"].open_log(tmp_path / "mine.jsonl").interactions()
    ] == ["1"]


def test_empty_log_is_a_log(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n")
    log = DATASETS["retailrocket"].open_log(tmp_path)
    assert (log.rows, len(log), log.span_ms, list[Interaction](log.interactions())) == (0, 0, (0, 0), [])


def of_rows(**columns: list[object]) -> Log:
    count = len(next(iter(columns.values())))
    rows = {
        "time_ms": [1_700_000_000_000] * count,
        "shopper": ["s"] * count,
        "item": [f"i{n}" for n in range(count)],
        "kind": ["purchase"] * count,
    }
    return log("rows", Path("rows.csv"), pl.LazyFrame(rows | columns, strict=False))


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("12.5", 12.5),
        ("12,50", 12.5),
        ("$12.50", 12.5),
        ("12,50 €", 12.5),
        ("EUR 1.234,50", 1234.5),
        ("1,234.50 USD", 1234.5),
        ("1.234.567,8", 1_234_567.8),
        ("0", 0.0),
        ("", None),
        (None, None),
    ],
)
def test_price_is_read_with_a_decimal_comma_and_a_currency(text: str | None, price: float | None) -> None:
    read = of_rows(price=[text])
    assert [interaction.price for interaction in read.interactions()] == [price]


@pytest.mark.parametrize("price", ["1,234", "twelve", "12.5.1", "NaN", "inf", "12-15"])
def test_price_that_cannot_be_read_is_counted(price: str) -> None:
    read = of_rows(price=["1.0", price])
    assert (len(read), read.filtered) == (1, {"price that is no number": 1})


def test_quantity_of_a_whole_number_is_read_and_what_is_none_is_counted() -> None:
    read = of_rows(quantity=["3.0", "2", "2.5", "many", "0", "1000001", ""])
    assert [interaction.quantity for interaction in read.interactions()] == [3, 2, 1]
    assert read.filtered == {
        "quantity that is no whole number": 2,
        "quantity below 1": 1,
        "quantity above 1,000,000": 1,
    }
    assert [interaction.quantity for interaction in of_rows(quantity=[3.0, None, 2.5]).interactions()] == [3, 1]


def test_what_no_message_holds_is_counted() -> None:
    read = of_rows(time_ms=[1_700_000_000, 1_700_000_000_000], item=["i", "x" * 300])
    assert read.filtered == {"time before 2000 or after 2100": 1, "id longer than 200 characters": 1}
