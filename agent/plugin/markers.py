"""The pluggy markers, apart from the hooks so that plugins and hookspecs can both import them."""

import pluggy

PROJECT = "predis_agent"
ENTRY_POINT_GROUP = "predis_agent.plugins"
API_VERSION = 1
"""The version of the plugin API this agent offers. It grows when a plugin written for the last one would break."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
