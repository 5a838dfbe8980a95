"""What annotations of the package are checked with under the tests: the shapes and kinds of arrays.

Other types are mypy's, and tests put stand-ins in their place.
"""

import re
from collections.abc import Callable

from beartype import beartype

ARRAY = re.compile(r"\b(?:Bool|Float(?:32|64)?|Int(?:32|64)?|Integer|Shaped|Num|Real|Key|UInt8)\[")


def checked(function: Callable) -> Callable:
    """Check those of a function's arguments and results that are annotated as arrays."""
    written = function.__annotations__
    for name in [n for n, kind in written.items() if not ARRAY.search(kind if isinstance(kind, str) else repr(kind))]:
        del written[name]
    return beartype(function) if written else function
