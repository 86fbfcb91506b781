"""Differences are told by the member, short enough to read."""

from __future__ import annotations

from service.stream.auditing.findings import differences


def test_members_that_differ_are_named_with_both_values() -> None:
    published = b'{"score":0.5,"features":{"x":{"mean":1.0}},"status":"scored"}'
    expected = b'{"score":0.7,"features":{"x":{"mean":1.0}},"status":"scored","incident":"opened"}'
    told = differences(published, expected)
    assert told == 'score: 0.5, should be 0.7; incident: absent, should be "opened"'


def test_nested_members_have_their_path_and_many_are_counted() -> None:
    published = b'{"features":{"x":{"mean":1,"std":2,"z":3,"a":4,"b":5,"c":6}}}'
    expected = b'{"features":{"x":{"mean":2,"std":3,"z":4,"a":5,"b":6,"c":7}}}'
    told = differences(published, expected)
    assert told.startswith("features.x.mean: 1, should be 2; ")
    assert told.endswith("; 2 more")


def test_other_bytes_of_the_same_members_and_no_json_are_told_too() -> None:
    assert differences(b'{"a":1,"b":2}', b'{"b":2,"a":1}') == "the same members in other bytes"
    assert differences(b"junk", b"{}") == "published b'junk', should be b'{}'"
