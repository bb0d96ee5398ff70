"""The parts of `rheostat chaos` that need no servers: what is sent, what is found different, a network that is cut."""

import contextlib
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.records import recommendation
from support.replay import ARTIFACT

from features.sources.simulator import shop
from infra.chaos import faults, load
from infra.chaos.account import Account
from infra.chaos.expected import expected, with_reactions
from infra.chaos.load import Place
from infra.chaos.proxy import Proxy, local_proxy
from infra.chaos.run import _drawn
from streaming.schemas import Topic

START_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def account() -> Account:
    return expected(load.interactions(120, START_MS), shop.items(), ARTIFACT)


def test_the_same_is_sent_in_every_run() -> None:
    once, again = (load.records(load.interactions(120, START_MS)) for _ in range(2))
    assert once == again
    broken = [sent for its in once for sent in its if sent.is_broken]
    assert (len(once), len(broken)) == (120, 120 // load.BROKEN_EVERY)


def test_what_is_to_come_has_every_event_once(account: Account) -> None:
    interactions = load.interactions(120, START_MS)
    assert len(account.rec_ids) == len(interactions)
    assert account.rows.keys() == {interaction.shopper_id for interaction in interactions}
    assert len(account.letters) == 120 // load.BROKEN_EVERY


def test_outcomes_are_by_the_place_and_not_by_the_item(account: Account) -> None:
    slates = [recommendation(f"{n:032x}", ["a", "b", "c"], START_MS + n) for n in range(16)]
    others = [recommendation(f"{n:032x}", ["x", "y", "z"], START_MS + n) for n in range(16)]
    of, another = (replace(account, rec_ids=set(account.rec_ids)) for _ in range(2))
    with_reactions(of, slates)
    with_reactions(another, others)
    assert of.outcomes == another.outcomes
    assert of.outcomes[f"{8:032x}"] == (Place(True, False, 0), Place(True, True, 2), Place(True, False, 0))
    assert of.rec_ids == another.rec_ids
    sent = [sent.topic for its in load.reactions(slates) for sent in its]
    assert [sent.count(topic) for topic in (Topic.IMPRESSIONS, Topic.CLICKS, Topic.PURCHASES)] == [8, 4, 2]


def test_what_is_otherwise_is_counted_and_named(account: Account) -> None:
    assert set(account.differences(account).values()) == {0}
    assert not list(account.examples(account))
    shopper, another = list(account.rows)[:2]
    lost = next(iter(account.rec_ids))
    changed = replace(
        account,
        rec_ids=account.rec_ids - {lost} | {"f" * 32},
        rows=account.rows | {shopper: account.rows[another]},
        letters=set(),
        outcomes={"r": (Place(True, False, 0),)},
        stale={shopper},
    )
    assert changed.differences(account) == {
        "rec_ids_lost": 1,
        "rec_ids_too_many": 1,
        "rows_different": 1,
        "feast_rows_different": 1,
        "dead_letters_lost": len(account.letters),
        "dead_letters_too_many": 0,
        "outcomes_different": 1,
    }
    said = list(changed.examples(account))
    assert any(sentence.startswith(f"row of {shopper}: ") and "expected" in sentence for sentence in said)
    assert f"rec_id {lost} is lost" in said


def test_each_fault_comes_before_one_comes_again() -> None:
    kinds = list(faults._FAULTS)
    drawn = _drawn(kinds, 2 * len(kinds) + 1, random.Random(3))
    assert set(drawn[: len(kinds)]) == set(drawn[len(kinds) : 2 * len(kinds)]) == set(kinds)
    assert drawn == _drawn(kinds, 2 * len(kinds) + 1, random.Random(3))


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(100):
            self.request.sendall(data)


@pytest.fixture
def network() -> Iterator[Proxy]:
    """Before a server that says what it is told."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server, local_proxy() as proxy:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy.target = server.server_address[1]
        yield proxy
        server.shutdown()


def connected(port: int) -> socket.socket:
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:  # it has not begun to listen
            continue
        client.settimeout(10)
        return client


def test_a_network_that_is_cut_loses_nothing_and_one_that_resets_ends(network: Proxy) -> None:
    with connected(network.port) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        network.cut()
        client.settimeout(0.3)
        client.sendall(b"two")
        with pytest.raises(TimeoutError):
            client.recv(100)
        network.mend()
        client.settimeout(10)
        assert client.recv(100) == b"two"
        network.reset()
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""
    with connected(network.port) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"
