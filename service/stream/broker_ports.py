"""Which ports a local Kafka takes: those asked for, or any free ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from service.stream.kafka_jars import LocalBrokerError

HOST = "127.0.0.1"

# Below the ranges from which Linux and macOS give out ports to connecting clients: a client that tries again
# and again to reach a broker that is down can otherwise connect to itself, and take the broker's port.
PORTS = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Where one node listens: clients, the quorum, and each further listener by name."""

    clients: int
    controller: int
    further: Mapping[str, int]


def choose_ports(nodes: int, first: int | None, further: Collection[str]) -> dict[int, NodePorts]:
    """Ports by node; with `first`, node i serves clients on `first + i`."""
    asked = range(first, first + nodes) if first is not None else range(0)
    for port in asked:
        if not is_free(port):
            raise LocalBrokerError(
                f"port {port} is taken on {HOST}: choose another, or none for any free one"
            )
    free = _free_ports(asked)
    return {
        node: NodePorts(
            clients=asked[node] if asked else next(free),
            controller=next(free),
            further={name: next(free) for name in further},
        )
        for node in range(nodes)
    }


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _free_ports(but: Collection[int]) -> Iterator[int]:
    shuffled = random.SystemRandom().sample(PORTS, len(PORTS))
    return (port for port in shuffled if port not in but and is_free(port))
