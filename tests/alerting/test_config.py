from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from service.alerting.channels.webhook import WebhookConfig
from service.alerting.config import AlertingConfig

CONTRACT = """
deduplication: {window: 300s}          # by source and severity
channels:
  ops-slack: {type: slack, webhook_url: "https://hooks.example/x"}
  on-call:   {type: email, host: smtp.example.org, port: 587, from: anomalyd@example.org,
              to: [on-call@example.org]}
  hook:      {type: webhook, url: "https://hook.example/y"}
rules:
  - {severity: all, channels: [ops-slack]}
  - {severity: critical, sources: "pump-*", labels: {site: north}, channels: [on-call, hook]}
"""


def problems(**members: Any) -> dict[str, str]:
    """Path of each mistake and what is said of it."""
    with pytest.raises(ValidationError) as raised:
        AlertingConfig.model_validate(members)
    return {".".join(map(str, error["loc"])): error["msg"] for error in raised.value.errors()}


def test_the_contracts_yaml_is_understood() -> None:
    config = AlertingConfig.model_validate(yaml.safe_load(CONTRACT))
    assert config.deduplication.window == 300.0
    assert list(config.channels) == ["ops-slack", "on-call", "hook"]
    assert isinstance(config.channels["hook"], WebhookConfig)
    assert config.rules[1].labels == {"site": "north"}


def test_the_defaults_are_stated() -> None:
    config = AlertingConfig()
    assert (config.deduplication.window, config.record_suppressed) == (300.0, True)
    assert (config.retry.initial, config.retry.maximum, config.retry.max_age) == (1.0, 300.0, 86_400.0)
    assert config.channels == {}


def test_a_rule_with_an_unknown_channel_is_an_error_with_its_path() -> None:
    found = problems(
        channels={"screen": {"type": "terminal"}},
        rules=[{"channels": ["screen"]}, {"channels": ["screen", "scren"]}, {"channels": ["nobody"]}],
    )
    assert set(found) == {"rules.1.channels.1", "rules.2.channels.0"}
    assert "'scren'; there are: screen" in found["rules.1.channels.1"]


def test_a_channel_that_is_itself_wrong_is_not_reported_as_unknown_too() -> None:
    found = problems(channels={"hook": {"type": "webhook"}}, rules=[{"channels": ["hook"]}])
    assert list(found) == ["channels.hook.webhook.url"]


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"dedup": {}}, "dedup"),
        ({"channels": {"x": {"type": "pigeon"}}}, "channels.x"),
        ({"channels": {"x": {"type": "terminal", "colour": 1}}}, "channels.x.terminal.colour"),
        ({"channels": {"a/b": {"type": "terminal"}}}, "channels.a/b.[key]"),
        ({"rules": [{"severity": "bad", "channels": []}]}, "rules.0.channels"),
        ({"deduplication": {"window": "soon"}}, "deduplication.window"),
        ({"retry": {"initial": "10m", "maximum": "5m"}}, "retry"),
        ({"retry": {"max_age": "0s"}}, "retry.max_age"),
    ],
)
def test_every_mistake_has_its_path(members: dict[str, Any], path: str) -> None:
    assert path in problems(**members)


def test_one_config_leaves_nothing_behind_for_the_next() -> None:
    problems(channels={"a": {"type": "terminal"}}, rules=[{"channels": ["b"]}])
    AlertingConfig.model_validate({"channels": {"b": {"type": "terminal"}}, "rules": [{"channels": ["b"]}]})
