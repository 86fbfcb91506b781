"""`anomalyd feedback`: say of a source what its anomalies were, and see what that changed."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.durations import parse_duration
from service.errors import AnomalydError, ConfigurationError
from service.stream.asking import ask, tell
from service.wire.timestamps import parse_rfc3339

app = typer.Typer()


class Word(StrEnum):
    """What can be said, as it is written on a command line."""

    FALSE_ALARM = "false-alarm"
    CONFIRMED = "confirmed"
    EXPECTED = "expected"
    NEW_NORMAL = "new-normal"


@app.command()
def feedback(
    source: Annotated[str, typer.Argument(help="The sourceId.")],
    word: Annotated[
        str, typer.Argument(metavar="|".join(Word), help="What its anomalies were; also with underscores.")
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    anomaly: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The anomaly that is meant; default: the newest incident."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="With expected: its end, RFC 3339 in the points' time.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; default: your login.")] = None,
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for those who read it later.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long to wait for the service's answer.")] = "60s",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answer.")] = True,
) -> None:
    """Tell the service what a source's anomalies were, and wait until it has taken that up.

    false-alarm: it alarms half as often from here on; its open incident is resolved.
    confirmed: the opposite, and an outage, or the level after it, is not accepted as the new normal.
    expected: nothing is an alarm until a time; its open incident is resolved.
    new-normal: its past is forgotten, and what it does now is learned from scratch.

    Exit code 1 if the service rejects it or does not answer.
    """
    control = _control(word, anomaly, until, by or _login(), note)
    seconds = _seconds(timeout)
    settings = settings_of(config, overrides, bootstrap)
    body = json.dumps({"sourceId": source, "control": control}, ensure_ascii=False).encode()
    if not wait or settings.publish == "none":
        place = tell(settings.kafka, settings.topics, source, body)
        sys.stdout.write(f"{source}: {word} stands at {place}; nobody waits for the answer\n")
        return
    with _waiting():
        answer = ask(settings.kafka, settings.topics, source, body, seconds)
    if answer is None:
        raise AnomalydError(
            f"no answer within {timeout}: is the service running, and how far behind is it? "
            "What was said stands in the input and counts when the service comes to it"
        )
    _show(source, word, json.loads(answer))


def _control(
    word: str, anomaly: str | None, until: str | None, by: str | None, note: str | None
) -> dict[str, str]:
    """The control record's content; only what the command line can know is judged here.

    Raises:
        ConfigurationError: every mistake at once.
    """
    problems = []
    kind = word.replace("_", "-")
    if kind not in list(Word):
        problems.append(f"{word}: none of {', '.join(Word)}")
    if (until is not None) != (kind == Word.EXPECTED):
        problems.append("--until: expected needs it, and nothing else takes it")
    if until is not None:
        try:
            parse_rfc3339(until)
        except ValueError as error:
            problems.append(f"--until {until}: {error}")
    if problems:
        raise ConfigurationError(problems)
    members = {"anomalyId": anomaly, "until": until, "by": by, "note": note}
    given = {name: text for name, text in members.items() if text}
    return {"feedback": kind.replace("-", "_"), **given}


def _seconds(timeout: str) -> float:
    try:
        return parse_duration(timeout)
    except ValueError as error:
        raise ConfigurationError([f"--timeout: {error}"]) from None


def _login() -> str | None:
    """Nothing where the machine knows no name, as in a container of any user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _show(source: str, word: str, answer: dict[str, Any]) -> None:
    """What was applied, a line each; what was rejected is an error."""
    if answer["status"] != "applied":
        raise AnomalydError(f"rejected: {answer.get('reason')}: {answer.get('detail', '')}")
    lines = [f"{source}: {word} applied at {answer['timestamp']}"]
    if "incidentId" in answer:
        lines.append(f"  incident {answer['incidentId']}: {answer['incident']}")
    for name, change in answer["changed"].items():
        if isinstance(change, dict):
            change = f"{_plain(change['before'])} -> {_plain(change['after'])}"
        lines.append(f"  {name}: {_plain(change)}")
    sys.stdout.write("\n".join(lines) + "\n")


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


@contextmanager
def _waiting() -> Iterator[None]:
    """Says on a terminal that an answer is waited for."""
    stderr = Console(stderr=True)
    if not stderr.is_terminal:
        yield
        return
    with stderr.status("waiting for the service's answer"):
        yield
