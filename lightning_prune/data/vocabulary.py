"""Words as numbers."""

from collections import Counter
from collections.abc import Iterable

PADDING, UNKNOWN = 0, 1  # what stands behind a sentence's end, and for words that are not known


class Vocabulary:
    r"""The most frequent words of a text, numbered from 2 on; 0 is `<pad>` and 1 is `<unk>`.

    Among words that are equally frequent, the alphabet decides, so the numbers do not depend on the
    order of the text.

    Args:
        words: The text.
        size: Numbers there are at most, the two special ones among them.
        least: How often a word must occur.

    Raises:
        ValueError: If the size is smaller than 3 or `least` than 1.
    """

    def __init__(self, words: Iterable[str], size: int, least: int = 1) -> None:
        if size < 3 or least < 1:
            raise ValueError(
                f"A vocabulary needs size >= 3 and least >= 1, got {size} and {least}."
            )
        counts = Counter(words)
        frequent = sorted(
            (word for word, count in counts.items() if count >= least),
            key=lambda word: (-counts[word], word),
        )
        self.words = ["<pad>", "<unk>", *frequent[: size - 2]]
        # a word of the text that is spelt like a special one stays apart from it
        self.numbers = {word: number for number, word in enumerate(self.words[2:], start=2)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, words: Iterable[str]) -> list[int]:
        """Give the number of each word, 1 for those that are not known."""
        return [self.numbers.get(word, UNKNOWN) for word in words]
