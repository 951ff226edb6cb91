"""How a validator says no: with what is wrong and, apart from it, what would be right."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

REFUSED = "predis_refused"


def refuse(what: str, mend: str, key: str | None = None) -> PydanticCustomError:
    """The error to raise in a validator.

    A check across fields names the one to blame: ``key`` is its dotted path from the outermost model.
    """
    return PydanticCustomError(REFUSED, "{what}; {mend}", {"what": what, "mend": mend, "key": key or ""})
