"""Commands for whoever runs the jobs: look at a shopper, look after dead letters."""

import contextlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streaming.cli.group import fail, group
from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say, when
from streaming.cli.running import HOME, running
from streaming.config import Cluster

features = group("What the online store holds.")
dead_letters = group("Records that could not be used.")

SHOWN_AT_MOST, RAW_SHOWN = 20, 100  # letters, and bytes of each
NOTHING = "-"


@features.command("apply")
def features_apply(
    repo: Annotated[Path, typer.Option(file_okay=False, help="Folder of the Feast repo; made where it is not there.")],
    online_store: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="YAML of the section of feature_store.yaml.", show_default="SQLite"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a Feast repo of our features for the job `features`, the HTTP door and the log, and apply it.

    Once on each machine, with each release: what a repo defines is the release's, and the online store alone is shared.

    Example: rheostat features apply --repo /var/lib/rheostat/feast --online-store cassandra.yaml
    """
    import yaml

    from features.stores.applied import feast_repo

    section = None
    if online_store is not None:
        with contextlib.suppress(yaml.YAMLError):
            section = yaml.safe_load(online_store.read_text(encoding="utf-8"))
        if not (isinstance(section, dict) and "type" in section):
            fail(f"{online_store} is not the section online_store of a feature_store.yaml: expected `type: …` in it")
    console = printer(as_json)
    with console.status("applying …"):
        made = feast_repo(repo, section)
    say(f"the Feast repo in {made} is applied", console)
    print_json({"repo": str(made)}, as_json)


@features.command("get")
def features_get(
    shopper: Annotated[str, typer.Argument(help="Id of the shopper.")],
    feast_repo: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Feast repo.", show_default="of `rheostat up`")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what the online store knows of a shopper, in words; exit 1 if it knows nothing.

    Example: rheostat features get shopper-17
    """
    from rich.table import Table

    from features.spec import FEATURES, View

    console = printer(as_json)
    stack = running(HOME)
    repo = feast_repo or (None if stack is None else Path(stack.feast_repo))
    if repo is None:
        fail("no Feast repo is named and nothing runs here; give --feast-repo, or start `rheostat up`")
    from streaming.io.online_store import OnlineStore

    with (
        errors(OSError),
        console.status("asking Feast …"),
        contextlib.closing(OnlineStore(repo, patience_s=0.0)) as store,
    ):
        row = store.row(shopper)
    if not any(row.values()):
        say(f"the online store knows nothing of shopper {shopper}", console)
        print_json({}, as_json)
        raise typer.Exit(1)
    for view in (View.SESSION, View.PROFILE):
        table = Table("feature", "value", "unit", "over", title=f"{view.value} of {shopper}")
        values = row[view]
        for feature in FEATURES[view]:
            table.add_row(feature.name, _in_words(feature.name, values.get(feature.name)), feature.unit, feature.window)
        console.print(table if values else f"{view.value}: nothing, or nothing young enough")
    print_json({view.value: values for view, values in row.items()}, as_json)


@dead_letters.command("list")
def dead_letters_list(
    cluster: OnCluster,
    topic: Annotated[str | None, typer.Option(help="Only those from this topic.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Print the newest so many.")] = SHOWN_AT_MOST,
    as_json: AsJson = False,
) -> None:
    """Print dead letters, newest last, and count all by topic and reason.

    Example: rheostat dead-letters list --topic clicks --reason invalid
    """
    console = printer(as_json)
    letters = _letters(cluster, topic, reason)
    for letter in letters[-limit:]:
        say(f"{letter.origin}  {when(letter.time_ms)}  {letter.reason.value}", console)
        say(f"  {letter.error}", console)
        if letter.raw:
            say(f"  {letter.raw[:RAW_SHOWN].decode(errors='replace')!r}", console)
    counts = Counter(f"{letter.origin.topic} {letter.reason.value}" for letter in letters)
    say(f"{len(letters):,} dead letters" + "".join(f"; {name}: {n:,}" for name, n in counts.items()), console)
    shown = [{**msgspec.to_builtins(letter), "raw": letter.raw.decode(errors="replace")} for letter in letters[-limit:]]
    print_json({"count": len(letters), "by": counts, "letters": shown}, as_json)


@dead_letters.command("replay")
def dead_letters_replay(
    cluster: OnCluster,
    topic: Annotated[str | None, typer.Option(help="Only those from this topic.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again to where they came from: those that this version of the schemas can read now.

    One that was used already counts once: its event_id is known. What still cannot be read stays where it is, as does
    what was cut, or kept without consent, and a request whose deadline has passed: nobody waits for it.

    Example: rheostat dead-letters replay --topic clicks --dry-run
    """
    from streaming.io.feed import Feed
    from streaming.records import decode_any, key_of
    from streaming.schemas import DeadLetter, Reason, Topic

    console = printer(as_json)
    sent, unreadable, repeated, cut, late = 0, 0, 0, 0, 0
    seen: set[tuple[str, bytes]] = set()
    with Feed(cluster) as feed:
        for letter in _letters(cluster, topic, reason):
            if letter.reason is Reason.EXPIRED:
                late += 1
                continue
            if (letter.origin.topic, letter.raw) in seen:
                repeated += 1
                continue
            seen.add((letter.origin.topic, letter.raw))
            if (letter.raw_length is not None and letter.raw_length > len(letter.raw)) or not letter.raw:
                cut += 1
                continue
            message = decode_any(letter.raw, letter.origin)
            if isinstance(message, DeadLetter):
                unreadable += 1
                continue
            if not dry_run:
                feed.raw(Topic(letter.origin.topic), key_of(message), letter.raw)
            sent += 1
        feed.flush()
    say(
        f"{sent:,} {'would be sent' if dry_run else 'sent'} again; {unreadable:,} still cannot be read, "
        f"{repeated:,} are there more than once, of {cut:,} not all was kept, {late:,} were asked for too long ago",
        console,
    )
    print_json(
        {
            "sent": 0 if dry_run else sent,
            "readable": sent,
            "unreadable": unreadable,
            "repeated": repeated,
            "cut": cut,
            "expired": late,
        },
        as_json,
    )


def _letters(cluster: Cluster, topic: str | None, reason: str | None) -> list[Any]:
    """Return the dead letters that are wanted, oldest first."""
    from confluent_kafka import KafkaException

    from streaming.io.topics import read_topic
    from streaming.schemas import DeadLetter, Reason, Topic

    if reason is not None and reason not in list(Reason):
        fail(f"--reason {reason}: expected one of {', '.join(Reason)}")
    if topic is not None and topic not in list(Topic):
        fail(f"--topic {topic}: expected one of {', '.join(Topic)}")
    decoder = msgspec.json.Decoder(DeadLetter)
    with errors(KafkaException):
        letters = [decoder.decode(raw or b"") for _, _, raw in read_topic(cluster, Topic.DEAD_LETTERS)]
    wanted = [
        letter for letter in letters if topic in (None, letter.origin.topic) and reason in (None, letter.reason.value)
    ]
    return sorted(wanted, key=lambda letter: letter.time_ms)


def _in_words(name: str, value: Any) -> str:
    if value is None or value == []:
        return NOTHING
    if name == "event_time_ms":
        return when(int(value))
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list):
        shown = ", ".join(_in_words("", element) for element in itertools.islice(value, 8))
        return f"{shown}, … ({len(value)})" if len(value) > 8 else shown
    return f"{value:,.4g}" if isinstance(value, float) else f"{value}"
