"""The tests. They are a package, so that Python imports no other `tests` on the path."""
