"""What a node of the local broker is told to be."""

from __future__ import annotations

from service.stream.broker_files import node_properties
from service.stream.broker_ports import NodePorts

PORTS = {node: NodePorts(9000 + node, 9100 + node, {"LINK": 9200 + node}) for node in range(3)}


def test_a_listener_advertises_its_own_port_unless_another_is_given() -> None:
    plain = node_properties(1, PORTS, {"LINK": "PLAINTEXT"}, {})
    through = node_properties(1, PORTS, {"LINK": "PLAINTEXT"}, {"LINK": [1, 2, 3]})
    assert plain["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9001,LINK://127.0.0.1:9201"
    assert through["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9001,LINK://127.0.0.1:2"
    assert through["listeners"] == plain["listeners"]
