"""The whole configuration: the pieces' own config classes gathered; YAML, then environment, then flags."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.alerting.config import AlertingConfig
from service.durations import Duration
from service.errors import ConfigurationError
from service.pipeline import DetectionConfig
from service.stream.config import KafkaConfig, StreamConfig, TopicsConfig
from service.wire.decode import InputLimits

ENVIRONMENT_PREFIX = "ANOMALYD_"

_SECRET_WORDS = ("password", "token", "secret", "key", "url")


class _Section(BaseModel):
    # Pydantic takes the hiding from the outermost model: a secret must show in no error.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WorkerConfig(_Section):
    """Which of the service's processes this one is."""

    id: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    """Stable across restarts: it names the group instance and the transactional id."""


class HttpConfig(_Section):
    """Where metrics and health are served."""

    host: str = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65535)
    """0 takes any free port, said in the log."""


class LogConfig(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON elsewhere."""


class ModelConfig(_Section):
    path: Path | None = None
    """An artifact of `anomalyd train` that new partitions start from."""


class ShutdownConfig(_Section):
    drain: Duration = 8.0
    """How long a stop waits for the batch and the alerts in flight."""


class Settings(_Section):
    """Every setting of the service; all have defaults."""

    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    stream: StreamConfig = StreamConfig()
    input: InputLimits = InputLimits()
    detection: DetectionConfig = DetectionConfig()
    model: ModelConfig = ModelConfig()
    publish: Literal["all", "anomalies", "none"] = "all"
    """Which results go to the results topic; anomalies and dead letters are always published."""
    alerting: AlertingConfig = AlertingConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
    shutdown: ShutdownConfig = ShutdownConfig()


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the last would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConfigurationError([f"line {key_node.start_mark.line + 1}: {key!r} is given twice"])
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """The settings of a YAML file, overridden by the environment, overridden by `a.b=value` texts.

    Raises:
        ConfigurationError: every mistake at once, each with its full path.
    """
    data = _read(path) if path else {}
    problems: list[str] = []
    environment = os.environ if environment is None else environment
    given = [
        (name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), text, name)
        for name, text in sorted(environment.items())
        if _is_setting(name)
    ]
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            problems.append(f"--set {override}: write --set path.to.setting=value")
        given.append((name.split("."), text, f"--set {name}"))
    for keys, text, origin in given:
        if not _assign(data, keys, _value(text)):
            problems.append(f"{origin}: {'.'.join(keys[:-1])} is not a section")
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems += [_problem(data, item) for item in error.errors(include_url=False)]
    if problems:
        raise ConfigurationError(problems)
    return settings


def _is_setting(name: str) -> bool:
    """Whether an environment variable is meant for us.

    Kubernetes gives every pod variables like ANOMALYD_SERVICE_HOST for a Service called anomalyd, so a
    name without a double underscore counts only where it is a setting's.
    """
    if not name.startswith(ENVIRONMENT_PREFIX):
        return False
    key = name.removeprefix(ENVIRONMENT_PREFIX)
    return "__" in key or key.lower() in Settings.model_fields


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from None
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError([f"{path}: must be a mapping of sections, got a {type(data).__name__}"])
    return data


def _value(text: str) -> Any:
    """Lists and mappings as YAML has them, anything else as text for the setting's type to read."""
    if text.strip()[:1] in ("[", "{"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    return text


def _assign(data: dict[str, Any], keys: Sequence[str], value: Any) -> bool:
    """Set a nested key; false if the way leads through something that is no mapping."""
    section: Any = data
    for key in keys[:-1]:
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            return False
    section[keys[-1]] = value
    return True


def _problem(data: Any, item: Mapping[str, Any]) -> str:
    """One line for one pydantic error: the path as the user wrote it, what is wrong, the value."""
    path, here = [], data
    for part in item["loc"]:
        if isinstance(here, dict) and part not in here and part == here.get("type"):
            continue  # pydantic names the member of a union; the user never wrote it
        path.append(str(part))
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            here = None
    name = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"{name}: unknown setting"
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item.get("input")
    shown = "" if value is None or isinstance(value, dict | BaseModel) else repr(value)
    secret = any(word in name.lower() for word in _SECRET_WORDS)
    if shown and not secret and "got" not in message:
        message += f", got {shown[:80]}"
    return f"{name}: {message}"
