"""The configuration: models, loading, and where every key came from."""

from agent.config.load import LoadedConfig, find_config, load_config
from agent.config.models import Config, PluginConfig
from core_cache.options import is_loopback

__all__ = ["Config", "LoadedConfig", "PluginConfig", "find_config", "is_loopback", "load_config"]
