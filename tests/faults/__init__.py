"""Faults on purpose, on a real Kafka: `python -m tests.faults`."""
