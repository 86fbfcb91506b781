from __future__ import annotations

from tests.alerting.channels.servers import Answer, HttpServer
from tests.commands.command_line import Command


def hook(url: str) -> str:
    members = f"type: webhook, url: '{url}/hunter2', allow_private: true, secret: hunter2"
    return f"alerting={{channels: {{hook: {{{members}}}}}}}"


def test_one_harmless_alert_goes_through_the_channel(anomalyd: Command) -> None:
    with HttpServer() as server:
        ran = anomalyd("send-test", "hook", "--set", hook(server.url))
    assert (ran.code, ran.out, ran.err) == (0, "channel 'hook' took the test alert\n", "")
    (request,) = server.requests
    assert "Nothing is wrong" in request.json["explanation"]


def test_what_the_destination_answers_is_said_without_secrets_and_the_exit_code_is_1(
    anomalyd: Command,
) -> None:
    with HttpServer(Answer(404, body="no hunter2 here")) as server:
        ran = anomalyd("send-test", "hook", "--set", hook(server.url))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: channel 'hook': http_404: no ")
    assert "hunter2" not in ran.err


def test_an_unknown_channel_names_those_that_there_are(anomalyd: Command) -> None:
    ran = anomalyd("send-test", "hok", "--set", hook("http://localhost:1"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: alerting.channels.hok: no such channel; there are: hook"


def test_the_terminal_takes_it_too(anomalyd: Command) -> None:
    ran = anomalyd("send-test", "t", "--set", "alerting={channels: {t: {type: terminal, stream: stdout}}}")
    assert ran.code == 0
    assert "This is a test alert" in ran.out
