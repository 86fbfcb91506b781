"""What the demo says on the terminal: where to look, and the verdict at the end."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.demo.verdict import Verdict

_COLOUR = {"low": "blue", "medium": "yellow", "high": "dark_orange", "critical": "bold red"}


def look_further(console: Console, bootstrap: str) -> None:
    """Commands that read along from another terminal."""
    console.print("\n[bold]Look further[/] (in another terminal, while the broker runs):")
    for text, command in (
        ("anomalies", f"kcat -b {bootstrap} -t anomalies -C -o beginning -q"),
        ("results", f"kcat -b {bootstrap} -t detection-results -C -o -10 -e -q"),
        (
            "your own point",
            f'echo \'{{"sourceId":"me","values":{{"x":1}}}}\' | kcat -b {bootstrap} -t data-points -P -k me',
        ),
        ("files", f"anomalyd feed -b {bootstrap} FILE.csv"),
    ):
        console.print(f"  {text:<15} [cyan]{command}[/]", soft_wrap=True, highlight=False)


def verdict(
    console: Console, verdict: Verdict, *, sources: int, points: int, machine_points: int, seconds: float
) -> None:
    """Planted against found, and what was false."""
    table = Table(box=box.SIMPLE_HEAD, title="What was planted, and what was found", title_justify="left")
    for heading in ("", "fault", "source", "value", "score", "severity", "at point"):
        table.add_column(heading, justify="right" if heading in ("score", "at point") else "left")
    for found in verdict.faults:
        fault, anomaly = found.fault, found.anomaly
        if anomaly is None:
            table.add_row("[red]✗[/]", fault.kind, fault.source_id, fault.value, "", "[red]missed[/]", "")
            continue
        colour = _COLOUR[anomaly.severity]
        told_at = f"{(found.after_points or 0) + 1} of {fault.points}"
        table.add_row(
            "[green]✓[/]", fault.kind, fault.source_id, fault.value,
            f"{anomaly.score or 0.0:.3f}", f"[{colour}]{anomaly.severity}[/]", told_at,
        )  # fmt: skip
    console.print()
    console.print(table)
    for alarm in verdict.false_alarms:
        console.print(
            Text(f"  false alarm: {alarm.source_id} at {alarm.timestamp}: {alarm.explanation}"),
            soft_wrap=True,
        )
    false = len(verdict.false_alarms)
    console.print(
        f"Found [bold]{verdict.found} of {len(verdict.faults)}[/] planted faults, "
        f"[bold]{false}[/] false alarm{'s' * (false != 1)} on {sources} simulated sources "
        f"({points:,} points in {seconds:.0f} s, every one with a result in Kafka; "
        f"{machine_points} of them are this machine's own metrics)."
    )
