"""The dialects there are: a new vendor is one file, one fixture folder and one row here."""

from adapters import dataoorts, emailable, generic, validto, whoisxml
from adapters.contract.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    emailable.DIALECT,
    validto.DIALECT,
    whoisxml.DIALECT,
    generic.DIALECT,
    dataoorts.DIALECT,
)
