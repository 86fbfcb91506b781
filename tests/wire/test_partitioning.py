import pytest

from service.wire.partitioning import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    # The vectors of Kafka's own UtilsTest.
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_the_hash_is_that_of_java(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed % 2**32


def test_every_key_has_a_partition_of_those_there_are() -> None:
    assert {partition_of(f"pump-{i}", 5) for i in range(200)} == set(range(5))
