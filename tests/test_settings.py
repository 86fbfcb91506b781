"""YAML < environment < flags; every mistake at once; no secret in anything that is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from service.errors import ConfigurationError
from service.settings import Settings, load

SECRET = "hunter2hunter2"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "service.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def problems_of(
    path: Path | None = None, environment: dict[str, str] | None = None, overrides: tuple[str, ...] = ()
) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environment or {}, overrides)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------ order


def test_nothing_given_is_all_defaults() -> None:
    assert load(environment={}) == Settings()


def test_an_empty_file_is_all_defaults(write: Write) -> None:
    assert load(write("# nothing\n"), environment={}) == Settings()


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_file(write: Write) -> None:
    file = write("""
        http: {port: 1, host: a.example}
        kafka: {group_id: from-file, bootstrap_servers: "file:1"}
        log: {level: debug}
    """)
    environment = {"ANOMALYD_HTTP__PORT": "2", "ANOMALYD_KAFKA__GROUP_ID": "from-environment"}
    settings = load(file, environment, ["http.port=3"])
    assert settings.http.port == 3
    assert settings.kafka.group_id == "from-environment"
    assert settings.kafka.bootstrap_servers == "file:1"
    assert settings.http.host == "a.example"
    assert settings.log.level == "debug"


def test_the_last_of_two_equal_flags_wins() -> None:
    assert load(environment={}, overrides=["http.port=1", "http.port=2"]).http.port == 2


def test_a_setting_at_the_top_can_come_from_the_environment() -> None:
    assert load(environment={"ANOMALYD_PUBLISH": "anomalies"}).publish == "anomalies"


def test_lists_and_mappings_are_read_as_yaml_has_them() -> None:
    settings = load(
        environment={"ANOMALYD_KAFKA__PROPERTIES": "{security.protocol: SASL_SSL}"},
        overrides=["detection.result_features=[mean, mad]"],
    )
    assert settings.kafka.properties == {"security.protocol": "SASL_SSL"}
    assert settings.detection.result_features == ("mean", "mad")


def test_a_value_keeps_its_equals_signs() -> None:
    assert load(environment={}, overrides=["kafka.group_id=a=b"]).kafka.group_id == "a=b"


def test_durations_and_sizes_are_written_with_their_unit() -> None:
    settings = load(environment={}, overrides=["stream.max_wait=250ms", "input.max_record_bytes=2MiB"])
    assert settings.stream.max_wait == 0.25
    assert settings.input.max_record_bytes == 2 * 1024 * 1024


def test_yaml_anchors_and_merges_work(write: Write) -> None:
    settings = load(write("http: &h {port: 7}\nlog: {level: info}\nworker: {id: w}\n"), environment={})
    assert settings.http.port == 7
    merged = load(write("stream: {<<: {max_batch_records: 5}, max_wait: 1s}\n"), environment={})
    assert (merged.stream.max_batch_records, merged.stream.max_wait) == (5, 1.0)


# --------------------------------------------------------------------------------------- mistakes


def test_all_mistakes_of_a_file_are_said_at_once(write: Write) -> None:
    problems = problems_of(
        write("""
            kafka: {bootstrap_server: "a:1"}
            stream: {max_wait: soon}
            http: {port: 99999}
            detection: {threshold: 7}
            log: {level: loud}
        """)
    )
    assert len(problems) == 5
    assert {problem.split(": ")[0] for problem in problems} == {
        "kafka.bootstrap_server",
        "stream.max_wait",
        "http.port",
        "detection.threshold",
        "log.level",
    }


def test_mistakes_of_file_environment_and_flags_are_said_together(write: Write) -> None:
    problems = problems_of(
        write("http:\n  port: 1\n  port: 2\n"),
        {"ANOMALYD_KAFKA__TYPO": "x"},
        ("log.level=loud", "no-equals-sign"),
    )
    assert problems == [
        "line 3: 'port' is given twice",
        "--set no-equals-sign: write --set path.to.setting=value",
        "kafka.typo: unknown setting",
        "log.level: Input should be 'debug', 'info', 'warning' or 'error', got 'loud'",
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nonsense: 1", "nonsense"),
        ("http: {prot: 1}", "http.prot"),
        ("detection: {features: {window: 1}}", "detection.features.window"),
        (
            "detection: {ensemble: {detectors: [{type: zscore, size: 1}]}}",
            "detection.ensemble.detectors.0.size",
        ),
        (
            "alerting: {channels: {t: {type: terminal, colour: red}}}",
            "alerting.channels.t.colour",
        ),
        ("alerting: {rules: [{severity: all, chanels: [t]}]}", "alerting.rules.0.chanels"),
    ],
)
def test_an_unknown_key_is_named_with_its_full_path(write: Write, text: str, name: str) -> None:
    assert f"{name}: unknown setting" in problems_of(write(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("http: {port: 1}\nlog: {level: info}\nhttp: {port: 2}\n", 3),
        ("http:\n  port: 1\n  'port': 2\n", 3),
        ("alerting:\n  channels:\n    t: {type: terminal}\n    t: {type: terminal}\n", 4),
        ("alerting:\n  rules:\n  - {severity: all, channels: []}\n  - {severity: all, severity: all}\n", 4),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(write: Write, text: str, line: int) -> None:
    assert any(p.startswith(f"line {line}: ") and "given twice" in p for p in problems_of(write(text)))


def test_a_key_given_twice_in_a_flag_is_refused() -> None:
    assert problems_of(overrides=("http={port: 1, port: 2}",)) == [
        "--set http: line 1: 'port' is given twice"
    ]


def test_a_member_of_a_union_is_named_as_the_user_wrote_it(write: Write) -> None:
    problems = problems_of(write("kafka: {properties: {linger.ms: [1]}}"))
    assert all(problem.startswith("kafka.properties.linger.ms: Input") for problem in problems)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a\n", "must be a mapping of sections, got a list"),
        ("just text\n", "must be a mapping of sections, got a str"),
        ("a: [1\n", "line 2: not YAML"),
        ("? [a]\n: b\n", "line 1: not YAML: found unhashable key"),
        ("? {a: 1}\n: b\n", "line 1: not YAML: found unhashable key"),
        ("a: " + "[" * 3000, "not YAML: nested too deep"),
        ("!!python/object/apply:os.system ['true']\n", "line 1: not YAML: could not determine a constructor"),
        ("a: \x00\n", "not YAML"),
        ("1: a\n", "1: Keys should be strings"),
        ("http: 7\n", "http: Input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_configuration_says_why(write: Write, text: str, what: str) -> None:
    assert any(what in problem for problem in problems_of(write(text)))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "gone.yaml") == ["No such file or directory"]
    assert problems_of(tmp_path) == ["Is a directory"]
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    assert problems_of(tmp_path / "latin.yaml") == ["not YAML: not UTF-8: invalid start byte"]


def test_a_path_through_a_plain_value_is_no_section() -> None:
    assert problems_of(overrides=("http.port=1", "http.port.x=1")) == [
        "--set http.port.x: http.port is not a section"
    ]


# ------------------------------------------------------------------------------------ environment


def test_variables_that_kubernetes_sets_for_a_service_called_anomalyd_are_ignored() -> None:
    settings = load(
        environment={
            "ANOMALYD_PORT": "tcp://10.0.0.1:9464",
            "ANOMALYD_PORT_9464_TCP": "tcp://10.0.0.1:9464",
            "ANOMALYD_PORT_9464_TCP_ADDR": "10.0.0.1",
            "ANOMALYD_SERVICE_HOST": "10.0.0.1",
            "ANOMALYD_SERVICE_PORT": "9464",
            "ANOMALYD_SERVICE_PORT_HTTP": "9464",
            "ANOMALYD_CONFIG": "somewhere.yaml",
            "ANOMALYD_CACHE": "somewhere",
            "PATH": "bin",
        }
    )
    assert settings == Settings()


@pytest.mark.parametrize("name", ["ANOMALYD_KAFKA__TYPO", "ANOMALYD_TYPO__KAFKA"])
def test_a_misspelt_setting_of_the_environment_is_refused(name: str) -> None:
    (problem,) = problems_of(environment={name: "x"})
    first, second = name.removeprefix("ANOMALYD_").lower().split("__")
    assert problem in (f"{first}.{second}: unknown setting", f"{first}: unknown setting")


# ---------------------------------------------------------------------------------------- secrets

CHANNELS = f"""
    kafka: {{sasl_password: {SECRET}, ssl_key_password: {SECRET}}}
    alerting:
      channels:
        slack: {{type: slack, webhook_url: "https://hooks.slack.com/services/T/B/{SECRET}"}}
        bot: {{type: slack, token: "xoxb-{SECRET}", channel: ops}}
        hook:
          type: webhook
          url: "https://hook.example/{SECRET}"
          secret: {SECRET}
          headers: {{Authorization: "Bearer {SECRET}"}}
        mail: {{type: email, host: h, from: a@b.example, to: [c@d.example], username: u, password: {SECRET}}}
"""


def test_secrets_show_in_neither_repr_nor_dump(write: Write) -> None:
    settings = load(write(CHANNELS), environment={})
    assert len(settings.alerting.channels) == 4
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown
    assert SECRET not in yaml.safe_dump(settings.model_dump(mode="json"))


def test_secret_properties_of_librdkafka_show_in_neither_repr_nor_dump(write: Write) -> None:
    settings = load(
        write(f"kafka: {{properties: {{sasl.oauthbearer.client.secret: {SECRET}, ssl.key.pem: {SECRET}}}}}"),
        environment={},
    )
    assert SECRET not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.kafka.connection()["sasl.oauthbearer.client.secret"] == SECRET


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {{sasl_password: [{SECRET}]}}",
        f"kafka: {{sasl_passwort: {SECRET}}}",
        f"kafka: {SECRET}",
        f"kafka: {{properties: {{sasl.password: {SECRET}}}}}",
        f"kafka: {{properties: {{sasl.oauthbearer.client.secret: [{SECRET}]}}}}",
        f"alerting: {{channels: {{a: {{type: slack, webhook_url: 'ftp://{SECRET}'}}}}}}",
        f"alerting: {{channels: {{a: 'https://hooks.slack.com/{SECRET}'}}}}",
        f"alerting: {{channels: {{a: {{type: webhook, url: 'https://u:{SECRET}@h.example'}}}}}}",
        f"alerting: {{channels: {{a: {{type: webhook, url: 'https://h', headers: {{X: [{SECRET}]}}}}}}}}",
        f"alerting: {{channels: {{a: {{type: webhook, url: 'https://h', headers: [{SECRET}]}}}}}}",
        f"alerting: {{channels: {{a: {{type: email, password: [{SECRET}]}}}}}}",
        f"kafka: {{sasl_password: '{SECRET}",
        f"kafka: {{sasl_password: *{SECRET}}}",
        f"kafka: {{sasl_password: !{SECRET} x}}",
        f"kafka:\n  sasl_password: a: {SECRET}\n",
        f"kafka:\n  sasl_password: {SECRET}\n bad\n",
    ],
)
def test_secrets_show_in_no_error(write: Write, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(text), environment={})
    assert SECRET not in str(caught.value)
    assert SECRET not in str(problems_of(write(text)))


@pytest.mark.parametrize(
    "password", ["[brackets]", "{braces}", "{open", "a=b", "  blanks  ", "123", "*x", "#y"]
)
def test_a_password_from_the_environment_is_taken_as_it_is(password: str) -> None:
    settings = load(environment={"ANOMALYD_KAFKA__SASL_PASSWORD": password})
    assert settings.kafka.connection()["sasl.password"] == password


def test_secrets_can_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pass word\r\n", encoding="utf-8")
    (tmp_path / "url").write_text("https://hooks.slack.com/services/T/B/x\n", encoding="utf-8")
    settings = load(
        environment={"ANOMALYD_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password")},
        overrides=[f"alerting={{channels: {{a: {{type: slack, webhook_url_file: '{tmp_path}/url'}}}}}}"],
    )
    assert settings.kafka.connection()["sasl.password"] == "pass word"
    assert "pass word" not in f"{settings!r} {settings.model_dump()}"
    assert settings.alerting.channels["a"].secrets == ["https://hooks.slack.com/services/T/B/x"]


def test_a_secret_file_that_is_missing_or_empty_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert problems_of(
        overrides=(
            f"kafka.sasl_password_file={tmp_path}/gone",
            f"kafka.ssl_key_password_file={tmp_path}/empty",
        )
    ) == [
        f"kafka.sasl_password_file: cannot read {tmp_path}/gone: No such file or directory",
        f"kafka.ssl_key_password_file: {tmp_path}/empty is empty",
    ]


def test_a_secret_given_both_ways_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a", encoding="utf-8")
    assert problems_of(
        overrides=("kafka.sasl_password=a", f"kafka.sasl_password_file={tmp_path}/password")
    ) == ["kafka: sasl_password and sasl_password_file are both given"]
