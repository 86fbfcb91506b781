"""Data for docker-compose.yml: a fleet of pumps with planted faults, as NDJSON on stdout.

The points carry no timestamps, so Kafka's apply and the file can be played over and over; it runs to its
end and back to its beginning, so that no value jumps where it starts anew.
"""

from __future__ import annotations

import json
import sys

from service.demo.fleet import VALUES, Fleet

SOURCES, POINTS, SEED = 20, 2_000, 1


def main() -> None:
    fleet = Fleet(SOURCES, POINTS, SEED)
    rounds = [values.round(4).tolist() for _, values in fleet.rounds()]
    for values in rounds + rounds[::-1]:
        for source_id, point in zip(fleet.source_ids, values, strict=True):
            body = {"sourceId": source_id, "values": dict(zip(VALUES, point, strict=True))}
            sys.stdout.write(json.dumps(body, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
