"""Peer: Quix Streams, exactly once, running mean and variance per key in its state store and changelog."""

from __future__ import annotations

from math import sqrt
from typing import Any

from quixstreams import Application, State

from tests.benchmarks.peers import loop


def score(point: dict[str, Any], state: State) -> dict[str, Any]:
    """Scores a point against its source's past, then learns from it."""
    value = point["values"]["value"]
    count, mean, squares = state.get("statistics", (0, 0.0, 0.0))
    variance = squares / (count - 1) if count > 1 else 0.0
    deviation = value - mean
    new_mean = mean + deviation / (count + 1)
    state.set("statistics", (count + 1, new_mean, squares + deviation * (value - new_mean)))
    return {
        "sourceId": point["sourceId"],
        "timestamp": point["timestamp"],
        "value": value,
        "mean": mean,
        "variance": variance,
        "score": abs(deviation) / sqrt(variance) if variance > 0.0 else 0.0,
    }


def main() -> None:
    parser = loop.arguments(__doc__)
    parser.add_argument("--state", required=True)
    options = parser.parse_args()
    app = Application(
        broker_address=options.bootstrap,
        consumer_group=options.group,
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_every=loop.BATCH_RECORDS,
        state_dir=options.state,
        consumer_extra_config=loop.CONSUMER_SPEED,
        producer_extra_config=loop.PRODUCER_SPEED,
    )
    points = app.topic(options.input, key_deserializer="str", value_deserializer="json")
    results = app.topic(options.output, key_serializer="str", value_serializer="json")
    app.dataframe(points).apply(score, stateful=True).to_topic(results)
    app.run()


if __name__ == "__main__":
    main()
