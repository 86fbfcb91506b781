"""Holds what was published against the input: what an outside reader sees must be one answer per record.

1. Ask where the consumer group stands. 2. Ask where the output topics end. 3. Ask where the input ends.
4. Read results and dead letters, then anomalies. 5. Read the input. In this order whatever answers a record
below the group's offset stands before the ends, and no answer is read whose record is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
from confluent_kafka import Message

from service.errors import AnomalydError
from service.stream.auditing.findings import Kind, Place, Report
from service.stream.auditing.ledger import ANOMALOUS, CHANGES, LETTER, OURS, RESULT, UNCHECKED, Ledger
from service.stream.auditing.recomputation import Lineage, MakePipeline, Recomputation, fingerprint, model_of
from service.stream.config import KafkaConfig, TopicsConfig
from service.stream.output import Publish
from service.stream.reading import Span, committed_offsets, offsets_at, read_spans, spans_of
from service.stream.records import by_partition, records_of
from service.stream.topics import is_compacted
from service.stream.transaction import Headers
from service.wire.anomaly import ABSENCE
from service.wire.limits import InputLimits

_ASK_S = 30.0  # for the input's settings

Until = Literal["committed", "now"]
Progress = Callable[[int, int], None]
"""Told how many of how many offsets are read."""


def silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which input records must have an answer.

    `since` is an offset of every partition, or with `since_is_time` epoch milliseconds; None is the log's
    start, or with `stream.start_from: latest` the first record that has an answer. `until` says up to
    where: what the consumer group has committed, or everything that is there now.
    """

    since: int | None = None
    since_is_time: bool = False
    until: Until = "committed"
    from_earliest: bool = True


@dataclass(frozen=True, slots=True)
class Recompute:
    """Run the input again: with what, and whether results of other models are compared, too."""

    make_pipeline: MakePipeline
    limits: InputLimits
    model: str
    all_models: bool = False


class _Incident(msgspec.Struct):
    """The members of a result, or an anomaly, that are looked at."""

    incident: str | None = None
    is_anomaly: bool = msgspec.field(default=False, name="isAnomaly")


def audit(
    kafka: KafkaConfig,
    topics: TopicsConfig,
    publish: Publish,
    scope: Scope,
    recompute: Recompute | None = None,
    progress: Progress = silent,
) -> Report:
    """Everything that is wrong with what `kafka.group_id` published.

    Raises:
        AnomalydError: a topic is missing or cannot be read, or there is nothing to compare with.
    """
    return _Audit(kafka, topics, publish, scope, recompute, progress).run()


class _Audit:
    def __init__(
        self,
        kafka: KafkaConfig,
        topics: TopicsConfig,
        publish: Publish,
        scope: Scope,
        recompute: Recompute | None,
        progress: Progress,
    ) -> None:
        self._kafka, self._publish, self._scope = kafka, publish, scope
        self._input = topics.name("data_points")
        self._results, self._letters, self._anomalies = (
            topics.name(role) for role in ("detection_results", "dead_letters", "anomalies")
        )
        self._recompute = recompute
        self._progress = progress
        self._report = Report(self._input, kafka.group_id)
        self._ledgers: dict[int, Ledger] = {}
        self._first: dict[tuple[str, int, int], int] = {}  # first input offset in an output partition
        self._from: dict[int, Lineage] = {}  # where the recomputation of a partition begins
        self._foreign = 0
        self._done = self._total = 0

    def run(self) -> Report:
        committed = committed_offsets(self._kafka, self._input)
        outputs = {
            topic: spans_of(self._kafka, topic, unfinished=True)
            for topic in (self._results, self._letters, self._anomalies)
        }
        whole = spans_of(self._kafka, self._input)
        began = self._began(whole)
        for number, span in whole.items():
            fingerprints = self._recompute is not None
            self._ledgers[number] = Ledger(
                number, began[number], span.stop, self._report, fingerprints=fingerprints
            )
        spans = {number: Span(began[number], span.stop) for number, span in whole.items()}
        everything = [*outputs.values(), spans]
        self._total = sum(max(s.stop - s.start, 0) for each in everything for s in each.values())
        for topic in (self._results, self._letters):
            for messages in self._batches(topic, outputs[topic]):
                self._answers(topic, messages)
        for messages in self._batches(self._anomalies, outputs[self._anomalies]):
            self._told(messages)
        limits = {n: span.stop for n, span in whole.items()}
        if self._scope.until == "committed":
            limits = {n: min(max(committed[n], 0), stop) for n, stop in limits.items()}
        recomputation = self._recomputation(began)
        for messages in self._batches(self._input, spans):
            self._records(messages, recomputation, limits)
        self._close(outputs, limits, recomputation)
        if recomputation is not None:
            self._explain(recomputation, outputs)
        self._say(committed)
        return self._report

    # Where to begin and where to end.

    def _began(self, whole: Mapping[int, Span]) -> dict[int, int]:
        """The first offset of each partition to look at."""
        since = self._scope.since
        if since is None:
            return {number: span.start for number, span in whole.items()}
        if not self._scope.since_is_time:
            return {number: min(max(since, span.start), span.stop) for number, span in whole.items()}
        found = offsets_at(self._kafka, self._input, whole, since)
        return {n: found[n] if found[n] >= 0 else span.stop for n, span in whole.items()}

    # Reading.

    def _batches(self, topic: str, spans: Mapping[int, Span]) -> Iterator[list[Message]]:
        position = {number: span.start for number, span in spans.items()}
        before = self._done
        for messages in read_spans(self._kafka, topic, spans):
            for message in messages:
                position[cast(int, message.partition())] = cast(int, message.offset())
            self._done = before + sum(position[n] - spans[n].start for n in spans)
            self._progress(self._done, self._total)
            yield messages
        self._done = before + sum(max(span.stop - span.start, 0) for span in spans.values())
        self._progress(self._done, self._total)

    def _origin(self, message: Message, headers: Mapping[str, bytes | None]) -> tuple[Ledger, int] | None:
        """The ledger and the offset of the input record that a message names."""
        topic, partition, offset = (
            headers.get(f"x-in-{name}") or b"" for name in ("topic", "partition", "offset")
        )
        if topic != self._input.encode() and topic:
            self._foreign += 1
            return None
        place = Place(cast(int, message.partition()), cast(int, message.offset()), f"in {message.topic()}")
        if not (topic and partition.isdigit() and offset.isdigit()):
            self._report.found(Kind.MALFORMED, place)
            return None
        ledger = self._ledgers.get(int(partition))
        if ledger is None:
            self._report.found(Kind.STRAY, Place(int(partition), int(offset), "no such input partition"))
            return None
        origin = (cast(str, message.topic()), cast(int, message.partition()), ledger.partition)
        self._first.setdefault(origin, int(offset))
        return ledger, int(offset)

    def _answers(self, topic: str, messages: Sequence[Message]) -> None:
        is_result = topic == self._results
        ours = self._recompute.model if self._recompute is not None else ""
        for message in messages:
            headers = dict(cast(Headers, message.headers() or []))
            origin = self._origin(message, headers)
            if origin is None:
                continue
            ledger, offset = origin
            key, value = message.key(), message.value()
            change, marks = 0, LETTER
            if is_result:
                marks = RESULT
                model = (headers.get("x-model") or b"?").decode(errors="replace")
                self._report.models[model] += 1
                ledger.first_of_model.setdefault(model, offset)
                if model_of(model) == ours or (self._recompute is not None and self._recompute.all_models):
                    marks |= OURS
                change = self._change(value, message)
            elif "x-cut-from-bytes" in headers:
                marks |= UNCHECKED
            partition = cast(int, message.partition())
            ledger.answer(topic, partition, offset, marks, change, self._fingerprint(key, value))

    def _told(self, messages: Sequence[Message]) -> None:
        for message in messages:
            origin = self._origin(message, dict(cast(Headers, message.headers() or [])))
            if origin is None:
                continue
            ledger, offset = origin
            key, value = message.key(), message.value()
            if (absence := _absence(value)) is not None:
                ledger.silence(offset, absence, self._fingerprint(key, value))
            else:
                ledger.anomaly(offset, self._change(value, message), self._fingerprint(key, value))

    def _fingerprint(self, key: bytes | None, value: bytes | None) -> int:
        return fingerprint(key, value) if self._recompute is not None else 0

    def _change(self, body: bytes | None, message: Message) -> int:
        """What a result or an anomaly says of an incident, as a place in `CHANGES`; with `ANOMALOUS`."""
        if body is None or (b'"incident":"' not in body and b'"isAnomaly":true' not in body):
            return 0  # nearly all: no need to read them
        try:
            said = msgspec.json.decode(body, type=_Incident)
            return CHANGES.index(said.incident or "") | (ANOMALOUS if said.is_anomaly else 0)
        except (ValueError, msgspec.DecodeError):
            place = Place(cast(int, message.partition()), cast(int, message.offset()), "unreadable")
            self._report.found(Kind.MALFORMED, place)
            return 0

    def _records(
        self, messages: Sequence[Message], recomputation: Recomputation | None, limits: Mapping[int, int]
    ) -> None:
        for number, mine in by_partition(messages).items():
            ledger = self._ledgers[number]
            for message in mine:
                ledger.record(cast(int, message.offset()))
            if recomputation is not None and number in self._from:
                lineage = self._from[number]
                mine = [message for message in mine if cast(int, message.offset()) >= lineage.born]
                if mine:
                    recomputation.run(ledger, records_of(mine), lineage, limits[number])

    # Judging.

    def _recomputation(self, began: Mapping[int, int]) -> Recomputation | None:
        """The recomputation; `_from` says where each partition's begins."""
        wanted = self._recompute
        if wanted is None:
            return None
        models = self._report.models
        ours = {model for model in models if wanted.all_models or model_of(model) == wanted.model}
        if models and not ours:
            raise AnomalydError(
                f"nothing to compare with: these settings are model {wanted.model}, results name "
                + ", ".join(f"{model} ({count:,})" for model, count in models.most_common(5))
            )
        for number, ledger in self._ledgers.items():
            lineage = Lineage.newest({m: at for m, at in ledger.first_of_model.items() if m in ours})
            if lineage.born >= began[number]:
                self._from[number] = lineage
            elif ledger.stop > ledger.start:
                self._report.notes.append(
                    f"partition {number} cannot be recomputed: it is looked at from offset {began[number]} "
                    f"on, and what came from offset {lineage.born} on is part of every result"
                )
        if not self._from and any(ledger.stop > ledger.start for ledger in self._ledgers.values()):
            raise AnomalydError(f"cannot recompute: {self._report.notes[-1]}")
        return Recomputation(wanted.make_pipeline, wanted.limits, self._publish, self._report)

    def _close(
        self,
        outputs: Mapping[str, Mapping[int, Span]],
        limits: Mapping[int, int],
        recomputation: Recomputation | None,
    ) -> None:
        may_vanish = is_compacted(self._kafka, self._input, _ASK_S)
        kept = spans_of(self._kafka, self._input)
        answered_from = self._surviving(outputs, (self._results, self._letters))
        told_from = self._surviving(outputs, (self._anomalies,))
        for number, ledger in self._ledgers.items():
            floor = answered_from.get(number, 0)
            if not self._scope.from_earliest and self._scope.since is None:
                floor = max(floor, self._first_answer(number, ledger))
            closed = ledger.close(
                floor,
                limits[number],
                told_from=told_from.get(number, 0),
                kept_from=kept[number].start,
                every_result=self._publish == "all",
                may_vanish=may_vanish,
            )
            if recomputation is not None:
                closed.compared = recomputation.compared.get(number, 0)
            self._report.partitions.append(closed)

    def _surviving(self, outputs: Mapping[str, Mapping[int, Span]], topics: Sequence[str]) -> dict[int, int]:
        """From which input offset on retention has surely left all answers, where it took some."""
        surviving: dict[int, int] = {}
        for topic in topics:
            for output_partition, span in outputs[topic].items():
                if span.start == 0:
                    continue
                for (name, partition, number), first in self._first.items():
                    if (name, partition) == (topic, output_partition):
                        surviving[number] = max(surviving.get(number, 0), first)
                if (topic, output_partition, output_partition) not in self._first:
                    surviving[output_partition] = self._ledgers[output_partition].stop
        if surviving:
            self._report.notes.append(
                f"retention has taken the beginning of {', '.join(topics)}: input records older than the "
                "oldest that is left are not looked for there"
            )
        return surviving

    def _first_answer(self, number: int, ledger: Ledger) -> int:
        firsts = [
            first
            for (topic, _, partition), first in self._first.items()
            if partition == number and topic != self._anomalies
        ]
        return min(firsts, default=ledger.stop)

    def _explain(self, recomputation: Recomputation, outputs: Mapping[str, Mapping[int, Span]]) -> None:
        """Read again what was published for the first differences."""
        for role, topic in (("result", self._results), ("anomaly", self._anomalies)):
            places = [(n, offset) for r, n, offset in recomputation.expected if r == role]
            wanted = {(b"%d" % number, b"%d" % offset): (number, offset) for number, offset in places}
            for messages in read_spans(self._kafka, topic, outputs[topic] if wanted else {}):
                for message in messages:
                    headers = dict(cast(Headers, message.headers() or []))
                    origin = (headers.get("x-in-partition") or b"", headers.get("x-in-offset") or b"")
                    if headers.get("x-in-topic") == self._input.encode() and origin in wanted:
                        value = message.value()
                        if role == "anomaly" and _absence(value) is not None:
                            continue
                        number, offset = wanted.pop(origin)
                        recomputation.explain(role, number, offset, value)
                if not wanted:
                    break
            for number, offset in wanted.values():
                recomputation.explain(role, number, offset, None)

    def _say(self, committed: Mapping[int, int]) -> None:
        notes, report = self._report.notes, self._report
        if self._scope.until == "committed" and all(offset < 0 for offset in committed.values()):
            notes.append(f"group {report.group!r} has committed nothing: no record must have an answer yet")
        if older := sum(ledger.before_start for ledger in self._ledgers.values()):
            notes.append(f"{older:,} results or dead letters are of records before the first one looked at")
        if self._foreign:
            notes.append(f"{self._foreign:,} messages are of other input topics")
        if self._publish != "all" and self._recompute is None:
            notes.append(f"publish is {self._publish!r}: whether results are missing only --recompute tells")
        if len(report.models) > 1:
            named = ", ".join(f"{model} ({count:,})" for model, count in report.models.most_common())
            notes.append(f"results are of several models: {named}")


class _Kind(msgspec.Struct):
    """What an anomaly says it is."""

    id: str
    kind: str | None = None


def _absence(body: bytes | None) -> str | None:
    """The id of an anomaly that tells of a source's absence; None of any other."""
    if body is None or b'"kind":"absence"' not in body:
        return None
    try:
        said = msgspec.json.decode(body, type=_Kind)
    except msgspec.DecodeError:
        return None
    return said.id if said.kind == ABSENCE else None
