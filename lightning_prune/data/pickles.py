"""Reader of pickled arrays that runs nothing."""

import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# looked up, since its home differs between versions of numpy
RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]


def read_pickle(path: Path) -> dict[str, Any]:
    r"""Read a pickled dict of numpy arrays, lists, strings and numbers, and of nothing else.

    A pickle is a program: loaded as usual, a file from a stranger can run any command. Here it can
    name only what arrays are made of. Files of Python 2 are read too; their strings become `str`.

    Args:
        path: The file.

    Returns:
        What was pickled.

    Raises:
        ValueError: If the file asks for anything but arrays, is damaged, or holds no dict.
    """
    try:
        with warnings.catch_warnings():
            # numpy on how its own older versions wrote a dtype
            warnings.simplefilter("ignore")
            content = ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Refused as refused:
        raise ValueError(
            f"{path} asks for {refused}, which arrays do not need, so it was not loaded; get the "
            "official file again."
        ) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path} is damaged or truncated; get the official file again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no dict of arrays; get the official file again.")
    return content


class Refused(Exception):  # noqa: N818 - it is never seen outside
    """A pickle asked for something that arrays do not need."""


class ArrayUnpickler(pickle.Unpickler):
    """Knows what arrays are made of, by name, and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the part of that name, or refuse."""
        found = PARTS.get((module, name))
        if found is None:
            raise Refused(f"{module}.{name}")
        return found


def latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes in an old protocol."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"the codec {encoding}")
    return text.encode("latin1")


PARTS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): latin1,
}
