"""The dialects there are: a new vendor is one file, one fixture folder and one row here."""

from adapters import emailable, validto
from adapters.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    emailable.DIALECT,
    validto.DIALECT,
)
