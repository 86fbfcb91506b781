"""Composition root: settings to objects, start and stop order, signals."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from confluent_kafka import KafkaException

from service import __version__, logs
from service.alerting.worker import ChannelWorker
from service.clock import Clock, SystemClock
from service.detectors import model as models
from service.features.engine import VECTOR_WIDTH
from service.errors import AnomalydError
from service.http.server import HttpServer, make_app
from service.metrics import Metrics
from service.pipeline import DetectionConfig, DetectionPipeline, Record
from service.settings import Settings
from service.stream import clients, topics
from service.stream.runtime import ClusterState, Stopped, StreamRuntime, route_of
from service.stream.transaction import Transactions
from service.wire.data_point import DataPoint

Only = Literal["detection", "alerting"]
