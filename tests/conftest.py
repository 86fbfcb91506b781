"""One hypothesis profile for all tests: the same examples at every run, no clock, no files left behind."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "anomalyd",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    # The first example of a kernel pays for its compilation.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("anomalyd")
