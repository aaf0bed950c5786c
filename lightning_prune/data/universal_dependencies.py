"""Part-of-speech tagging on the Universal Dependencies."""

import os
from itertools import chain
from pathlib import Path
from typing import Any

from lightning_prune.data.conllu import Sentence, read_conllu
from lightning_prune.data.module import ResumableData
from lightning_prune.data.official import data_root, known
from lightning_prune.data.sentences import Sentences
from lightning_prune.data.vocabulary import Vocabulary

TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
FILES = {"train": "train", "val": "dev", "test": "test"}


class UniversalDependencies(ResumableData):
    r"""Sentences of a treebank and the part of speech of each word, by default English (EWT).

    The three official files are looked for in `<root>/<folder>`. Batches are numbers of words and
    of tags, both (batch, length) int64: 0 and -100 behind a sentence's end, 1 for a word that is
    not in the vocabulary, which is that of the training part.

    References:
        | A Gold Standard Dependency Corpus for English (Silveira et al., 2014)
        | https://aclanthology.org/L14-1067

    Args:
        root: Folder of the data sets, by default the environment variable LIGHTNING_PRUNE_DATA.
        folder: Folder of the treebank below the root.
        treebank: What its files are called before `-ud-train.conllu`.
        subset: Folder inside the treebank's that holds a smaller version of the files, or None.
        vocabulary: Numbers of words there are at most; the most frequent words have one.
        least: How often a word must occur in the training part to have one.
        length: Words that a sentence has at most; longer ones are cut into pieces.
        padded: Whether all batches are `length` long, not as long as their longest sentence.
        options: The arguments of `ResumableData`: batch_size, workers, seed, drop_last.

    Attributes:
        words: The vocabulary, after `setup`.

    Raises:
        FileNotFoundError: In `prepare_data` and `setup`, if no root is given or a file is missing.
        ValueError: If an argument is out of its range; in `setup`, if a file is damaged.
    """

    name = "UniversalDependencies"
    classes = len(TAGS)

    def __init__(  # noqa: PLR0913
        self,
        root: str | os.PathLike[str] | None = None,
        folder: str = "ud-english-ewt",
        treebank: str = "en_ewt",
        subset: str | None = None,
        vocabulary: int = 8000,
        *,
        least: int = 2,
        length: int = 64,
        padded: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if vocabulary < 3 or least < 1 or length < 1:
            raise ValueError(
                f"Needs vocabulary >= 3, least >= 1 and length >= 1, got {vocabulary}, {least} and "
                f"{length}."
            )
        self.root = data_root(root)
        self.folder, self.treebank, self.subset = folder, treebank, subset
        self.vocabulary, self.least = vocabulary, least
        self.length, self.padded = length, padded

    def prepare_data(self) -> None:
        """Look for the files."""
        for part in FILES:
            self.file(part)

    def setup(self, stage: str | None = None) -> None:
        """Read the three files, once, and number the words of the training part."""
        if self.sets:
            return
        read = {part: read_conllu(self.file(part)) for part in FILES}
        words = chain.from_iterable(sentence.words for sentence in read["train"])
        self.words = Vocabulary(words, self.vocabulary, self.least)
        for part, sentences in read.items():
            ids = [self.words.encode(sentence.words) for sentence in sentences]
            tags = [self.numbered(sentence, part) for sentence in sentences]
            self.sets[part] = Sentences(ids, tags, self.length, self.padded)

    def numbered(self, sentence: Sentence, part: str) -> list[int]:
        """Give the number of each tag, or refuse an unknown one."""
        unknown = sorted(set(sentence.tags) - set(TAGS))
        if unknown:
            raise ValueError(
                f"{self.file(part)} has the tag {unknown[0]!r}, which is none of the 17 universal "
                "parts of speech; put the official file there."
            )
        return [TAGS.index(tag) for tag in sentence.tags]

    def file(self, part: str) -> Path:
        """Find the file of a part, or say that it is missing."""
        place = known(self.root, self.name) / self.folder / (self.subset or "")
        path = place / f"{self.treebank}-ud-{FILES[part]}.conllu"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.name} is not in {place}; put the three official files of the treebank "
                "there, or give another root (data.root= on the command line)."
            )
        return path
