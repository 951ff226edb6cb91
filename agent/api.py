"""Everything a plugin may import, and nothing else: the rest of the agent can change at any time.

A plugin is a class named by an entry point in the group ``predis_agent.plugins``; the entry point's name is the NAME
of its table ``[plugins.NAME]``:

    class Weather:
        api_version = 1
        Config = WeatherConfig                      # a PluginConfig of its own; optional

        def __init__(self, config: WeatherConfig) -> None: ...

        @hookimpl
        def predis_metric_specs(self) -> list[MetricSpec]: ...

        @hookimpl
        def predis_collect(self) -> Iterator[Sample]: ...
"""

from agent.config.models import ConfigPath, OrDefault, PluginConfig, Port
from agent.config.units import Duration, Size, duration_between, size_between
from agent.dashboards.json_api import JsonApi
from agent.dashboards.model import Asset, Dashboards, VendorError
from agent.export.config import ApiKey, ExportConfig
from agent.export.http import HttpSender, answer_of
from agent.export.model import Answer, Batch, Body, Destination, Event, Limits, Series, Temporality, Verdict
from agent.export.prepared import Prepared
from agent.metrics.bill import MONTH, Charge, tiered
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, Snapshot
from agent.plugin.host import CacheAddress, Host
from agent.plugin.libraries import MissingLibrary, require_library
from agent.plugin.markers import API_VERSION, hookimpl

__all__ = [
    "API_VERSION",
    "MONTH",
    "Answer",
    "ApiKey",
    "Asset",
    "Batch",
    "Body",
    "CacheAddress",
    "Charge",
    "ConfigPath",
    "Dashboards",
    "Destination",
    "Duration",
    "Event",
    "ExportConfig",
    "Histogram",
    "Host",
    "HttpSender",
    "JsonApi",
    "Kind",
    "Limits",
    "MetricSpec",
    "MissingLibrary",
    "OrDefault",
    "PluginConfig",
    "Port",
    "Prepared",
    "Sample",
    "Series",
    "Size",
    "Snapshot",
    "Temporality",
    "VendorError",
    "Verdict",
    "answer_of",
    "duration_between",
    "hookimpl",
    "require_library",
    "size_between",
    "tiered",
]
