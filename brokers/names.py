"""Names that become parts of paths: of profiles, engines, cells and runs, also of plug-ins and foreign results."""

from __future__ import annotations

import re

PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,119}"
"""No separator, no control character, and nothing that begins like a hidden file, a parent directory or an option."""


def check(name: str) -> str:
    """The name itself. Raises ValueError for one that is not fit for a file's name."""
    if re.fullmatch(PATTERN, name) is None:
        raise ValueError(
            f"{name[:200]!r} is no name: letters, digits and . _ + = @ - are allowed, a letter or digit first, "
            "120 characters at most"
        )
    return name


def check_path(path: str) -> str:
    """The same for a relative path, each part of which must be a name."""
    for part in path.split("/"):
        check(part)
    return path
