"""`generate.py FOLDER`: makes a Python client of each OpenAPI description in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_python_client.parser.errors import ErrorLevel

# words of a vendor that differ in their case alone would get one name as members of an enum
FILE = ConfigFile(post_hooks=[], literal_enums=True)

for description in sorted(Path(sys.argv[1]).glob("*.json")):
    package = description.with_name(f"{description.stem}_client")
    config = Config.from_sources(FILE, MetaType.NONE, description, "utf-8", False, package)
    errors = [error for error in generate(config=config) if error.level is ErrorLevel.ERROR]
    if errors:
        sys.exit(f"{description.stem}: {errors}")
