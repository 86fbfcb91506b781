"""Logging set up once per process: readable lines on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Literal

from service.imports import leave_out

# It would draw tracebacks with it, but ours are text before they are drawn.
leave_out("rich", while_importing="structlog")

import structlog  # noqa: E402

Level = Literal["debug", "info", "warning", "error"]
Logger = structlog.stdlib.BoundLogger


def configure(
    level: Level = "info", *, json: bool | None = None, fields: Mapping[str, object] | None = None
) -> None:
    """Send every log line to stderr; `json=None` chooses by whether stderr is a terminal.

    The `fields` stand in every line, whichever thread or library it comes from.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    everywhere = dict(fields or {})
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _, __, event: {**everywhere, **event},
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if level != "debug":
        logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpcore", "uvicorn", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def logger(name: str) -> Logger:
    """The logger of one part, its name bound as `part`."""
    bound: Logger = structlog.get_logger(part=name)
    return bound
