from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from tests.commands.command_line import Command

FIVE_MISTAKES = """
kafka: {bootstrap_server: "a:1", consumer: {enable.auto.commit: true}}
stream: {max_wait: soon}
http: {port: 99999}
detection: {threshold: 7}
"""


def test_no_file_is_a_good_configuration(anomalyd: Command) -> None:
    ran = anomalyd("check-config")
    assert (ran.code, ran.out, ran.err) == (0, "configuration is good\n", "")


def test_every_mistake_of_a_file_is_named_and_the_exit_code_is_2(anomalyd: Command, tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(FIVE_MISTAKES, encoding="utf-8")
    for arguments in ([file], ["--config", file]):
        ran = anomalyd("check-config", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("error: ") == 5
        for name in (
            "kafka.bootstrap_server: unknown setting",
            "kafka.consumer: enable.auto.commit: set by the service",
            "stream.max_wait: not a duration: 'soon'",
            "http.port: Input should be less than or equal to 65535, got 99999",
            "detection.threshold: Input should be less than 1, got 7",
        ):
            assert name in ran.err


def test_the_environment_names_the_file_and_overrides_it(
    anomalyd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("http: {port: 1, host: a.example}\n", encoding="utf-8")
    monkeypatch.setenv("ANOMALYD_CONFIG", str(file))
    monkeypatch.setenv("ANOMALYD_HTTP__PORT", "2")
    ran = anomalyd("check-config", "--show", "--set", "log.level=debug")
    shown = yaml.safe_load(ran.out)
    assert shown["http"] == {"host": "a.example", "port": 2}
    assert shown["log"]["level"] == "debug"


def test_what_is_shown_is_all_settings_in_force(anomalyd: Command) -> None:
    ran = anomalyd("check-config", "--show")
    assert ran.code == 0
    assert yaml.safe_load(ran.out) == Settings().model_dump(mode="json")


def test_what_is_shown_hides_secrets(anomalyd: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYD_KAFKA__SASL_PASSWORD", "hunter2")
    url = "https://hooks.slack.com/services/T/B/hunter2"
    ran = anomalyd(
        "check-config",
        "--show",
        *("--set", f"alerting={{channels: {{a: {{type: slack, webhook_url: '{url}'}}}}}}"),
        *("--set", "kafka.properties={ssl.key.pem: hunter2, client.id: shown}"),
    )
    assert ran.code == 0
    assert "shown" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_a_missing_file_is_an_error(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("check-config", tmp_path / "gone.yaml")
    assert (ran.code, ran.err) == (2, f"error: {tmp_path}/gone.yaml: No such file or directory")
