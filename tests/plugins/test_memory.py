"""What exporters keep in memory: each in a process of its own, since the C library gives back what it likes."""

import os
import subprocess
import sys

from tests.exporters.rig import AWS
from tests.servers import ROOT

OTLP = """
import psutil
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from agent.api import Batch, Kind, MetricSpec, Series
from plugins.otlp.metrics import MetricsEncoder

spec = MetricSpec("predis_level", Kind.gauge, "A level.", labels=("tenant", "command"))
series = [Series(spec, (f"tenant{number}", f"command{number}")) for number in range(10_000)]
encoder = MetricsEncoder(Resource(), InstrumentationScope(), False)
parts = [slice(at, at + 500) for at in range(0, 10_000, 500)]
before = psutil.Process().memory_info().rss
for part in parts:
    encoder.encode(Batch("metrics", 1e9, 10.0, series[part], [1.0] * 500, [1e9] * 500))
print(psutil.Process().memory_info().rss - before)
"""

CLOUDWATCH = """
import gc, logging, tracemalloc
from pathlib import Path
import boto3, botocore.retries.standard
from agent.api import CacheAddress, Host
from plugins.cloudwatch.plugin import CloudWatch, CloudWatchConfig

here = Path()
host = Host(here, CacheAddress(here, "127.0.0.1", 0, None, here), "1.2.3", logging.getLogger("test"))
plugin = CloudWatch(CloudWatchConfig(region="eu-west-1"))
tracemalloc.start()
plugin.predis_start(host)
destination = plugin.predis_destination()
gc.collect()
assert destination._session.get_credentials().access_key == "AKIDEXAMPLE"
print(tracemalloc.get_traced_memory()[0])
"""


def bytes_of(code: str) -> int:
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **AWS}, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    return int(child.stdout)


def test_otlp_keeps_little_of_a_series() -> None:
    assert bytes_of(OTLP) < 8e6  # with a message of protobuf for each, it is 19 MB


def test_cloudwatch_keeps_nothing_of_what_boto3_read_to_find_it() -> None:
    assert bytes_of(CLOUDWATCH) < 3e6  # a session that had a client keeps 9 MB
