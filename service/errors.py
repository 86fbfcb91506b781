"""The errors that cross rooms, sorted by what the caller does next; knows no room above the ground floor."""

from __future__ import annotations


class AnomalydError(Exception):
    """Anything that ends a command with exit code 1 and a message for a person."""


class ConfigurationError(AnomalydError):
    """The configuration or the command line is wrong: exit code 2, every mistake at once.

    `problems` holds one `path: what is wrong` line each.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TopicsMissingError(AnomalydError):
    """Topics that the service needs are not there, or are not as it needs them."""


class UnansweredError(AnomalydError):
    """The cluster is silent: the same question may be answered later."""
