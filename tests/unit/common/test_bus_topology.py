from __future__ import annotations

import pytest

from libs.common.bus import Options, open_bus
from libs.common.bus.amqp.link import Broker
from libs.common.bus.amqp.topology import Topology
from libs.common.bus.protocol import MAX_DELAY_SECONDS
from libs.common.bus.topics import matches

TOPOLOGY = Topology("", backlog=10)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0.0001, 1),
        (0.02, 20),
        (0.021, 25),
        (1, 1000),
        (1.1, 1200),
        (5, 5000),
        (30, 30_000),
        (MAX_DELAY_SECONDS, 86_400_000),
    ],
)
def test_a_delay_is_rounded_up_to_one_that_has_a_queue(seconds: float, milliseconds: int) -> None:
    queue = TOPOLOGY.delay_queue("q", seconds)
    assert queue.name == f"q.retry.{milliseconds}"
    assert queue.arguments["x-message-ttl"] == milliseconds
    assert queue.arguments["x-dead-letter-routing-key"] == "q"


def test_every_queue_that_belongs_to_a_name_is_among_its_names() -> None:
    topology = Topology("here", backlog=10)
    names = topology.names("q")
    assert names[0] == topology.job_queue("q").name == "here.q"
    assert topology.dead_queue("q").name in names
    assert all(topology.delay_queue("q", seconds).name in names for seconds in (0.001, 0.7, 45, 3601, 86_400))
    assert len(set(names)) == len(names)


def test_jobs_events_and_dead_letters_of_a_namespace_keep_to_it() -> None:
    topology = Topology("here", backlog=10)
    assert (topology.jobs, topology.events) == ("here.jobs", "here.events")
    assert (
        topology.job_queue("q").arguments["x-dead-letter-routing-key"]
        == topology.dead_queue("q").name
        == "here.q.dead"
    )
    assert topology.listener_queue("events.log", ("a.*",)).keys == ("a.*",)


@pytest.mark.parametrize("namespace", ["a.b", "a b", "x" * 33])
def test_a_namespace_that_cannot_begin_names_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="is no namespace"):
        open_bus("amqp://localhost/", namespace=namespace)


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "http://localhost:80/", "amqp:///", "memory://", "amqp://user:hunter#2@host/", "amqp://[::1"],
)
def test_a_url_of_something_else_than_a_broker_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="the bus URL is not of the form") as caught:
        open_bus(url)
    assert "hunter" not in str(caught.getrepr(style="short", funcargs=False))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://user:hunter2@broker/", "broker:5672"),
        ("amqps://user:hunter2@broker", "broker:5671"),
        ("amqp://broker:7000/virtual-host", "broker:7000"),
    ],
)
def test_a_broker_shows_its_address_alone(url: str, address: str) -> None:
    broker = Broker.at(url)
    assert broker.address == address
    assert repr(broker) == f"Broker(address='{address}')"


def test_pauses_that_no_message_can_make_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be delayed by -1"):
        Options(retries=(1, -1))


def test_a_pattern_without_wildcards_matches_its_topic_alone() -> None:
    assert matches("a.b", "a.b")
    assert not matches("a.b", "a.b.c")
    assert not matches("a.b", "a_b")
