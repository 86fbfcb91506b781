# The service as an image: its dependencies and a slim Python, not root, kernels compiled beforehand.
# Build: docker build -t anomalyd --build-arg VERSION=... --build-arg REVISION=$(git rev-parse HEAD) .

ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1

# Dependencies first, so that a change of our code does not fetch them again. Each file is checked against
# its hash; the build backend too, whose lines are those of the development lock.
WORKDIR /build
COPY requirements.txt requirements-dev.txt ./
RUN awk '/^setuptools==/ {found=1} found {print} found && !/\\$/ {exit}' requirements-dev.txt > requirements-build.txt \
    && python -m venv /opt/anomalyd \
    && /opt/anomalyd/bin/pip install --require-hashes --only-binary :all: -r requirements.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.txt

COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/anomalyd/bin/pip install --no-deps --no-index dist/*.whl

# numba trusts a compiled kernel as long as the time of its source file is the same to the nanosecond, and
# image layers keep whole seconds only: without this the kernels would be compiled again after each pull.
RUN find /opt/anomalyd/lib/python*/site-packages/service -name '*.py' -exec touch -d 2026-01-01T00:00:00Z {} + \
    && /opt/anomalyd/bin/python -m compileall -q -j 0 /opt/anomalyd/lib \
    && /opt/anomalyd/bin/pip uninstall --quiet --yes pip

# Kernels for any CPU of this architecture: compiled for the builder's own they would be useless on another,
# and those for any are as fast here (the loops are scalar by design: the same bits for any batch).
ENV ANOMALYD_CACHE=/var/cache/anomalyd \
    NUMBA_CPU_NAME=generic \
    NUMBA_CPU_FEATURES=""
RUN /opt/anomalyd/bin/python -c \
    "from service.app import warm; from service.pipeline import DetectionConfig; warm(DetectionConfig())"


FROM ${PYTHON_IMAGE}

ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=unknown

LABEL org.opencontainers.image.title="anomalyd" \
      org.opencontainers.image.description="Streaming anomaly detection on Kafka: from topic to explained alert" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="python:3.13-slim"

# Numbers and not names below, so that Kubernetes can see that this is not root.
RUN groupadd --gid 65532 anomalyd \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin anomalyd

COPY --from=build /opt/anomalyd /opt/anomalyd
COPY --from=build --chown=65532:65532 /var/cache/anomalyd /var/cache/anomalyd
COPY config/service.yaml /etc/anomalyd/service.yaml

# The three *_THREADS: models are small, and sums over one thread are the same on every machine.
# 0.0.0.0: inside a container nobody else could reach the probes and /metrics.
ENV PATH=/opt/anomalyd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONFAULTHANDLER=1 \
    ANOMALYD_CACHE=/var/cache/anomalyd \
    ANOMALYD_HTTP__HOST=0.0.0.0 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CPU_FEATURES="" \
    NUMBA_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1

USER 65532:65532
WORKDIR /tmp
EXPOSE 9464

# http.client, because urllib would ask an HTTP_PROXY for the way to this very container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ANOMALYD_HTTP__PORT', '9464')), timeout=4); c.request('GET', '/-/healthy'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["anomalyd"]
CMD ["run"]
