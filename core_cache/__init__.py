"""The cache: store, Redis protocol and server process. Runs on its own with `python -m core_cache`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core_cache._native import ArenaError, Reader
    from core_cache.reader import attach

__version__ = "0.1.0"
__all__ = ["ArenaError", "Reader", "attach"]


def __getattr__(name: str) -> Any:
    """What users import from here is loaded when it is asked for: set-up reads this file before the engine is built."""
    if name == "attach":
        from core_cache.reader import attach

        return attach
    if name in ("ArenaError", "Reader"):
        from core_cache import _native

        return getattr(_native, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
