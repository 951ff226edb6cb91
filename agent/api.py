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

from agent.config.models import ConfigPath, OrDefault, PluginConfig, Port, Section
from agent.config.scrub import Scrubber
from agent.config.units import Duration, Size, duration_between, format_size, size_between
from agent.dashboards.json_api import JsonApi
from agent.dashboards.model import Asset, Dashboards, VendorError
from agent.errors import PredisError
from agent.export.config import ApiKey, ExportConfig
from agent.export.http import HttpSender, answer_of
from agent.export.model import Answer, Batch, Body, Destination, Event, Limits, Series, Temporality, Verdict
from agent.export.prepared import Prepared
from agent.forecast.model import Estimate, Forecast, ForecastRequest, Forecasts, Wanted
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.bill import MONTH, Charge, tiered
from agent.metrics.history import History
from agent.metrics.model import Exemplar, Histogram, Kind, MetricSpec, Sample, Snapshot
from agent.plugin.host import CacheAddress, CacheControl, CacheFacts, CacheTenant, Host
from agent.plugin.libraries import MissingLibrary, require_library
from agent.plugin.markers import API_VERSION, hookimpl
from agent.rules.extension import ActionType, ConditionType, Now, Outcome, Plan, PlanOutdated, Task, WrongKey
from agent.rules.extension import Verdict as ConditionVerdict

__all__ = [
    "API_VERSION",
    "MONTH",
    "ActionType",
    "Anomaly",
    "Answer",
    "ApiKey",
    "Asset",
    "Batch",
    "Body",
    "CacheAddress",
    "CacheControl",
    "CacheFacts",
    "CacheTenant",
    "Cause",
    "Charge",
    "ConditionType",
    "ConditionVerdict",
    "ConfigPath",
    "Dashboards",
    "Destination",
    "Duration",
    "Estimate",
    "Event",
    "Exemplar",
    "ExportConfig",
    "Forecast",
    "ForecastRequest",
    "Forecasts",
    "Histogram",
    "History",
    "Host",
    "HttpSender",
    "Incident",
    "JsonApi",
    "Kind",
    "Limits",
    "MetricSpec",
    "MissingLibrary",
    "Now",
    "OrDefault",
    "Outcome",
    "Plan",
    "PlanOutdated",
    "PluginConfig",
    "Port",
    "PredisError",
    "Prepared",
    "Sample",
    "Scrubber",
    "Section",
    "Series",
    "Size",
    "Snapshot",
    "Task",
    "Temporality",
    "VendorError",
    "Verdict",
    "Wanted",
    "WrongKey",
    "answer_of",
    "duration_between",
    "format_size",
    "hookimpl",
    "require_library",
    "size_between",
    "tiered",
]
