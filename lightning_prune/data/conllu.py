"""Reader of CoNLL-U files, the format of the Universal Dependencies."""

from pathlib import Path
from typing import NamedTuple

FIELDS = 10


class Sentence(NamedTuple):
    """Words of a sentence and the part of speech of each (UPOS)."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_conllu(path: Path) -> list[Sentence]:
    r"""Read words and parts of speech.

    A line holds ten fields between tabs, a word's number, form and universal part of speech among
    them; an empty line ends a sentence and `#` begins a comment. Words written as one token (3-4)
    come after it one by one, so the token is passed over, and so are words that were not written
    (8.1).

    References:
        | Universal Dependencies v2: An Evergrowing Multilingual Treebank (...) (Nivre et al., 2020)
        | https://arxiv.org/abs/2004.10643

    Args:
        path: The file.

    Returns:
        The sentences, in the order of the file.

    Raises:
        ValueError: If a line is not of the format, or there is no sentence.
    """
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    try:
        # no splitlines, which would also break at odd characters inside a word
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no CoNLL-U file; put the official file there.") from error
    for number, line in enumerate([*lines, ""], start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if words:
                sentences.append(Sentence(tuple(words), tuple(tags)))
            words, tags = [], []
        elif not line.startswith("#"):
            fields = line.split("\t")
            if len(fields) != FIELDS:
                raise ValueError(
                    f"Line {number} of {path} has {len(fields)} fields and not the {FIELDS} of "
                    "CoNLL-U; put the official file there."
                )
            if fields[0].isdigit():
                words.append(fields[1])
                tags.append(fields[3])
    if not sentences:
        raise ValueError(f"{path} has no sentences; put the official file there.")
    return sentences
