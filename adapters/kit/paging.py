"""The pages of a vendor's results, counted by pages or by rows. Pure.

A page that is not full is the last. `most` is how many rows there can be in all: a server whose
pages never end is not asked for more.
"""

from __future__ import annotations

FIRST_PAGE = "1"
FIRST_OFFSET = "0"


def page_after(page: str, row_count: int, *, per_page: int, most: int) -> str:
    """The number of the page after one with so many rows; empty after the last."""
    number = int(page)
    return _next(number + 1, row_count, per_page, has_room=number * per_page < most)


def offset_after(offset: str, row_count: int, *, per_page: int, most: int) -> str:
    """The offset of the page after one with so many rows; empty after the last."""
    following = int(offset) + per_page
    return _next(following, row_count, per_page, has_room=following < most)


def _next(number: int, row_count: int, per_page: int, *, has_room: bool) -> str:
    return str(number) if row_count >= per_page and has_room else ""
