"""The dialects that are served. `docs/adding-a-vendor.md` adds one step by step."""

from adapters import (
    dataoorts,
    emailable,
    generic,
    kickbox,
    neverbounce,
    reacher,
    validto,
    whoisxml,
    zerobounce,
)
from adapters.contract.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    emailable.DIALECT,
    validto.DIALECT,
    whoisxml.DIALECT,
    generic.DIALECT,
    dataoorts.DIALECT,
    kickbox.DIALECT,
    neverbounce.DIALECT,
    reacher.DIALECT,
    zerobounce.DIALECT,
)
