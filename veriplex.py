"""The command `veriplex`, also `python -m veriplex`; and the version, which is kept here alone."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

__all__ = ["__version__", "main"]

__version__ = "0.1.0"

PACKAGES = ("engine", "adapters", "gateway")


def main() -> None:
    """Run the command line.

    The three packages are imported from beside this file. By name alone others could
    be found: a project may have a `gateway` of its own, and PYTHONPATH puts it first.
    """
    for name in PACKAGES:
        spec = PathFinder.find_spec(name, [str(Path(__file__).parent)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])

    from gateway.cli import main

    main()


if __name__ == "__main__":
    main()
