"""Calls to replicas, as a gateway makes them."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any

from libs.common.contracts.replicas import ReplicaReport
from services.worker.runner import protocol
from tests.support.replica import UnixConnection


class Refused(Exception):
    """The replica answered with an error of the algorithm."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.error = error


async def call(report: ReplicaReport, value: object, *, timeout: float = 120.0, **headers: str) -> Any:
    """The result of a call over the replica's Unix socket. Raises Refused."""
    assert report.address is not None
    assert report.address.unix is not None
    connection = UnixConnection(Path(report.address.unix), timeout)
    return await asyncio.to_thread(_exchange, connection, value, headers)


async def call_tcp(report: ReplicaReport, value: object, *, token: str | None) -> tuple[int, dict[str, Any]]:
    """Status and answer of a call over TCP."""
    assert report.address is not None
    assert report.address.host is not None
    connection = http.client.HTTPConnection(report.address.host, report.address.port, timeout=120)
    headers = {} if token is None else {protocol.REPLICA_TOKEN: token}
    return await asyncio.to_thread(_send, connection, value, headers)


def _exchange(connection: http.client.HTTPConnection, value: object, headers: dict[str, str]) -> Any:
    _, answer = _send(connection, value, headers)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["result"]


def _send(
    connection: http.client.HTTPConnection, value: object, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    fields = {
        "content-type": "application/json",
        protocol.TIMEOUT: "120",
        protocol.REQUEST_ID: "req-test",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    try:
        connection.request("POST", protocol.CALL_PATH, json.dumps(value), fields)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()
