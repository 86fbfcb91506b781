"""The whole configuration: the pieces' own config classes gathered; YAML, then environment, then flags."""

from __future__ import annotations

import os
import re
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
from service.stream.snapshots.config import SnapshotsConfig
from service.wire.decode import InputLimits

ENVIRONMENT_PREFIX = "ANOMALYD_"

_SECRET_WORDS = ("password", "token", "secret", "key", "url", "headers")
# Taken as text even where it could be read as a YAML list or mapping.
_TEXT_WORDS = ("password", "token", "secret")
# Errors of a whole section that is given as something else, perhaps as the secret that belongs inside it.
_SECTION_ERRORS = ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found")


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

    @property
    def as_json(self) -> bool | None:
        """`None` for `auto`."""
        return None if self.format == "auto" else self.format == "json"


class ModelConfig(_Section):
    path: Path | None = None
    """An artifact of `anomalyd train` that new partitions start from."""


class ShutdownConfig(_Section):
    drain: Duration = 6.0
    """How long a stop waits for the batch and the alerts in flight."""
    snapshots: Duration = 10.0
    """How long it then waits for the last snapshots, which spare the next start its replay."""


class Settings(_Section):
    """Every setting of the service; all have defaults."""

    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    stream: StreamConfig = StreamConfig()
    snapshots: SnapshotsConfig = SnapshotsConfig()
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
    """YAML that tells of a key given twice, where the last would win in silence."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # no key of ours; whether it can be one at all is said below
            if key_node.value in seen:
                self.repeated.append(
                    f"line {key_node.start_mark.line + 1}: {key_node.value!r} is given twice"
                )
            seen.add(key_node.value)
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
    problems: list[str] = []
    read = _read(path, problems) if path else {}
    # A section of which only comments are left is no mistake.
    data = {name: section for name, section in read.items() if section is not None}
    environment = os.environ if environment is None else environment
    given = [
        (name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), text, name)
        for name, text in sorted(environment.items())
        if _is_setting(name)
    ]
    for override in overrides:
        name, equals, text = override.partition("=")
        if name and equals:
            given.append((name.split("."), text, f"--set {name}"))
        else:
            problems.append(f"--set {override}: write --set path.to.setting=value")
    for keys, text, origin in given:
        value = text if any(word in keys[-1] for word in _TEXT_WORDS) else _value(text, origin, problems)
        if not _assign(data, keys, value):
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


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    """The file's sections; keys given twice join the `problems`."""
    try:
        data = _parse(path.read_text(encoding="utf-8"), str(path), problems)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path}: not YAML: not UTF-8: {error.reason}"]) from None
    except yaml.YAMLError as error:
        raise ConfigurationError([f"{path}: {_not_yaml(error)}"]) from None
    except RecursionError:
        raise ConfigurationError([f"{path}: not YAML: nested too deep"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError([f"{path}: must be a mapping of sections, got a {type(data).__name__}"])
    return data


def _not_yaml(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the words that stand there: they may be a secret."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "not YAML: a character that YAML does not allow"
    problem = re.sub(r"'(?!<)[^']{2,}'", "'...'", error.problem or "")
    return f"line {error.problem_mark.line + 1}: not YAML: {problem}"


def _parse(text: str, origin: str, problems: list[str]) -> Any:
    loader = _Loader(text)
    try:
        data = loader.get_single_data()
    finally:
        loader.dispose()
    problems += [f"{origin}: {repeated}" for repeated in loader.repeated]
    return data


def _value(text: str, origin: str, problems: list[str]) -> Any:
    """Lists and mappings as YAML has them, anything else as text for the setting's type to read."""
    if text.strip()[:1] in ("[", "{"):
        try:
            return _parse(text, origin, problems)
        except (yaml.YAMLError, RecursionError):
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
        if isinstance(here, list) and not isinstance(part, int):
            continue
        if isinstance(here, str | int | float):
            continue
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
    secret = item["type"] in _SECTION_ERRORS or any(word in name.lower() for word in _SECRET_WORDS)
    if shown and not secret and shown not in message:
        message += f", got {shown[:80]}"
    return f"{name}: {message}"
