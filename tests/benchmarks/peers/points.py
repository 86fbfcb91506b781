"""The data points that every peer gets: made from a seed, the sources in turn; knows nothing of Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FIRST_MS = 1_767_225_600_000
SPIKE_EVERY = 2_003
SPIKE = 12.0


def points(count: int, sources: int, seed: int = 7) -> Iterator[tuple[str, bytes]]:
    """(source id, JSON of about 90 bytes) of noise around a level per source, now and then a spike.

    Fewer points are the first ones of more.
    """
    rng = np.random.default_rng(seed)
    names = [f"plant-{i % 10}/pump-{i:04d}" for i in range(sources)]
    levels = rng.uniform(100.0, 900.0, size=sources)
    for start in range(0, count, sources):
        noise = rng.normal(size=sources)
        timestamp = FIRST_MS + start // sources * 1000
        for i in range(start, min(start + sources, count)):
            slot = i - start
            spike = SPIKE if i % SPIKE_EVERY == SPIKE_EVERY - 1 else 0.0
            value = levels[slot] + noise[slot] + spike
            yield names[slot], _body(names[slot], timestamp, value)


def _body(source_id: str, timestamp_ms: int, value: float) -> bytes:
    values = f'{{"value":{value:.6f}}}'
    return f'{{"sourceId":"{source_id}","timestamp":{timestamp_ms},"values":{values}}}'.encode()
