"""How a validator says no: with what is wrong and, apart from it, what would be right."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

REFUSED = "predis_refused"


def refuse(what: str, mend: str, key: str | None = None) -> PydanticCustomError:
    """The error to raise in a validator.

    ``key`` names a field below the one that is validated, for checks across fields.
    """
    return PydanticCustomError(REFUSED, "{what}; {mend}", {"what": what, "mend": mend, "key": key or ""})
