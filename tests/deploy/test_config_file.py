"""config/service.yaml has every setting, with its default, and its examples work."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from service.alerting.channels.base import ChannelSettings
from service.alerting.config import AlertingConfig
from service.settings import Settings, load
from tests.deploy.files import DEPLOY, ROOT

FILE = ROOT / "config" / "service.yaml"
SECRETS = "/run/secrets"


def without_comments(text: str) -> str:
    """Every setting that is off (text right behind the #) switched on."""
    return re.sub(r"(?m)^( *)#(?=[^ #\n])", r"\1", text)


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """The file with everything switched on and its secrets in place."""
    text = without_comments(FILE.read_text(encoding="utf-8"))
    for name in re.findall(rf"{SECRETS}/([\w-]+)", text):
        content = "https://hooks.slack.com/services/T/B/x" if name.endswith("url") else "secret"
        (tmp_path / name).write_text(content, encoding="utf-8")
    path = tmp_path / "service.yaml"
    path.write_text(text.replace(SECRETS, str(tmp_path)), encoding="utf-8")
    return path


def test_the_file_says_exactly_the_defaults() -> None:
    assert load(FILE, environment={}) == Settings()


def test_the_file_with_everything_switched_on_is_valid(complete: Path) -> None:
    # Of the two ways to give a secret one is taken.
    text = complete.read_text(encoding="utf-8")
    complete.write_text(re.sub(r"(?m)^ *\w+_password: .*\n", "", text), encoding="utf-8")
    settings = load(complete, environment={})

    assert set(settings.alerting.channels) == {"ops-slack", "pumps-slack", "on-call", "hook", "screen"}
    assert len(settings.alerting.rules) == 2
    assert [detector.type for detector in settings.detection.ensemble.detectors][-1] == "autoencoder"
    assert settings.worker.id == "anomalyd-0"


def test_every_setting_is_in_the_file(complete: Path) -> None:
    data = yaml.safe_load(complete.read_text(encoding="utf-8"))

    assert sorted(missing(Settings, data, "")) == []


def test_no_setting_is_without_a_comment() -> None:
    """A setting follows a comment, or another setting that one comment speaks of too."""
    for block in re.split(r"\n\s*\n", FILE.read_text(encoding="utf-8")):
        lines = [line.strip() for line in block.splitlines()]
        settings = [line for line in lines if re.match(r"#?\w+: *\S", line)]
        if settings:
            assert any(line.startswith("# ") for line in lines), block


def test_switching_on_leaves_prose_alone() -> None:
    assert without_comments("# prose\n  #key: 1\n  ## no\n#\n") == "# prose\n  key: 1\n  ## no\n#\n"


def test_a_forgotten_setting_would_be_noticed() -> None:
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    del data["detection"]["threshold"]
    del data["detection"]["ensemble"]["detectors"][5]["depth"]

    wrong = set(missing(Settings, data, ""))

    assert {"detection.threshold", "detection.ensemble.detectors[half_space_trees].depth"} <= wrong


@pytest.mark.parametrize(
    "path",
    [
        DEPLOY / "compose" / "service.yaml",
        DEPLOY / "kubernetes" / "base" / "config" / "service.yaml",
        DEPLOY / "kubernetes" / "overlays" / "example" / "service.yaml",
    ],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_configurations_of_deployments_are_valid_and_serve_http_to_others(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"/run/secrets/anomalyd/([\w-]+)", text):
        (tmp_path / name).write_text("https://hooks.slack.com/services/T/B/x", encoding="utf-8")
    copy = tmp_path / "service.yaml"
    copy.write_text(text.replace("/run/secrets/anomalyd", str(tmp_path)), encoding="utf-8")

    settings = load(copy, environment={})

    assert settings.http.host == "0.0.0.0"
    assert settings.http.port == 9464


# Which settings there are, from the classes.


def missing(model: type[BaseModel], data: Any, path: str) -> Iterator[str]:
    """Paths of the model's settings that `data` does not have."""
    for field, info in model.model_fields.items():
        name = info.alias or field
        here = f"{path}{name}"
        if not isinstance(data, dict) or not is_given(model, name, data):
            yield here
            continue
        value: Any = data.get(name)
        sections, contained = models_of(info.annotation)
        if model is AlertingConfig and name == "channels":
            yield from missing_of_channels(contained, value, here)
        elif contained:
            for member in contained:
                yield from missing_of_members(member, value, here)
        else:
            for section in sections:
                yield from missing(section, value, f"{here}.")


def is_given(model: type[BaseModel], name: str, data: dict[str, Any]) -> bool:
    if issubclass(model, ChannelSettings) and f"{name}_file" in data:
        return True
    return name in data


def missing_of_members(member: type[BaseModel], items: list[dict[str, Any]], path: str) -> Iterator[str]:
    """Of a list: each member's settings stand in at least one of its items."""
    kind = type_of(member)
    fitting = [item for item in items if kind is None or item.get("type") == kind]
    gaps = [set(missing(member, item, f"{path}[{kind or ''}].")) for item in fitting]
    yield from set.intersection(*gaps) if gaps else {f"{path}[{kind}]"}


def missing_of_channels(kinds: list[type[BaseModel]], channels: dict[str, Any], path: str) -> Iterator[str]:
    """What all channels have in common stands in at least one of them, the rest in one of each type."""
    common = set(ChannelSettings.model_fields)
    for kind in kinds:
        gaps = missing_of_members(kind, list(channels.values()), path)
        yield from (gap for gap in gaps if gap.rpartition(".")[2] not in common)
    yield from (f"{path}.{name}" for name in common if not any(name in c for c in channels.values()))


def type_of(model: type[BaseModel]) -> str | None:
    """The literal that tells a union's member from the others."""
    field = model.model_fields.get("type")
    return str(get_args(field.annotation)[0]) if field else None


def models_of(annotation: Any) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    """(models that the field is, models that it contains many of)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation], []
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return models_of(arguments[0])
    inner = [model for argument in arguments for part in models_of(argument) for model in part]
    if origin in (Union, types.UnionType):
        return inner, []
    return [], inner
