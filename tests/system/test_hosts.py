"""A worker on another host: it joins over the network, takes replicas, and the gateway calls them there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.author import Author
from tests.support.deployment import Separate
from tests.support.hosts import TwoHosts
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

ECHO = "def apply(input):\n    return input\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
def test_a_worker_on_another_host_joins_and_takes_replicas(tmp_path: Path) -> None:
    with TwoHosts() as hosts:
        hosts.on(hosts.first, lambda: _story(hosts, tmp_path))


def _story(hosts: TwoHosts, folder: Path) -> None:
    with Postgres() as postgres, RabbitMQ(folder / "rabbitmq", hosts.first) as rabbitmq:
        database = asyncio.run(postgres.create_database())
        data = folder / "data"
        data.mkdir()
        with (
            Separate(data, database_url=database, bus_url=rabbitmq.url, host=hosts.first) as platform,
            Author(platform.url, "admin", platform.admin["api_key"], folder) as author,
        ):
            admin = {"authorization": f"Simple {platform.admin['admin_api_key']}"}
            author.deploy("far", ECHO)
            (first,) = platform.listed("workers")

            mandate = author.http.post(
                "/admin/v1/mandates",
                headers=admin,
                json={"kind": "service", "identifiers": ["constellation.worker"], "note": "second host"},
            )
            assert mandate.status_code == 201, mandate.text
            hosts.on(
                hosts.second,
                lambda: platform.start_service(
                    "worker",
                    instance="second",
                    CONSTELLATION_HOST=hosts.second,
                    CONSTELLATION_JOIN_TOKEN=mandate.json()["key"],
                ),
            )

            def second() -> list[str]:
                return [worker["id"] for worker in platform.listed("workers") if worker["id"] != first["id"]]

            platform.wait_until(second, "list the second host's worker")
            assert author.http.post(f"/admin/v1/workers/{first['id']}/drain", headers=admin).status_code == 200
            assert author.result("far", "over there") == "over there"
            (ready,) = [r for r in platform.listed("replicas") if r["actual"] == "ready"]
            assert ready["worker_id"] == second()[0]
            assert ready["address"]["host"] == hosts.second
