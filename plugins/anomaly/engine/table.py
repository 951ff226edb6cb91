"""The state of all series: a struct of arrays with one row ("slot") to a series, that grows and shrinks with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Slots = npt.NDArray[np.intp]

FIRST = 64  # rows that there is room for at the beginning


class Field:
    """One array of the state: the type of its numbers, its width (1: a plain column) and what a new series has."""

    def __init__(self, dtype: Any, width: int = 1, fill: float = 0.0) -> None:
        self.dtype = np.dtype(dtype)
        self.width = width
        self.fill = fill

    def make(self, rows: int) -> Array:
        """An array of so many new series."""
        return np.full((rows,) if self.width == 1 else (rows, self.width), self.fill, self.dtype)


class Table:
    """Arrays by name, as `fields` says, of which rows are handed out and taken back.

    Room doubles as series appear and halves once three quarters of it lie idle, so that a flood of series that has
    gone leaves nothing behind.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)
        self.arrays = {name: field.make(FIRST) for name, field in self.fields.items()}
        self._free = list(range(FIRST))[::-1]
        self.rows = FIRST

    def __len__(self) -> int:
        return self.rows - len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return sum(array.nbytes for array in self.arrays.values())

    def add(self, fields: Mapping[str, Field]) -> None:
        """More arrays, for those who keep something beside what is here."""
        self.fields.update(fields)
        self.arrays.update({name: field.make(self.rows) for name, field in fields.items()})

    def take(self, count: int) -> Slots:
        """Rows for so many new series, in their initial state."""
        while len(self._free) < count:
            self._resize(self.rows * 2)
        slots = np.array([self._free.pop() for _ in range(count)], np.intp)
        for name, field in self.fields.items():
            self.arrays[name][slots] = field.fill
        return slots

    def give_back(self, slots: Iterable[int]) -> None:
        """The rows of series that are gone."""
        self._free.extend(int(slot) for slot in slots)

    def compact(self, used: Slots) -> Slots | None:
        """Halves the room where `used`, the rows in use, fill less than a quarter; gives their new rows then."""
        if self.rows <= FIRST or len(used) * 4 > self.rows:
            return None
        rows = max(FIRST, 1 << max(len(used) * 2 - 1, 1).bit_length())
        for name, field in self.fields.items():
            fresh = field.make(rows)
            fresh[: len(used)] = self.arrays[name][used]
            self.arrays[name] = fresh
        self.rows, self._free = rows, list(range(len(used), rows))[::-1]
        return np.arange(len(used), dtype=np.intp)

    def _resize(self, rows: int) -> None:
        for name, field in self.fields.items():
            fresh = field.make(rows)
            fresh[: self.rows] = self.arrays[name]
            self.arrays[name] = fresh
        self._free = list(range(self.rows, rows))[::-1] + self._free
        self.rows = rows
