import os
from pathlib import Path

import pytest
import torch

from lightning_prune.data import UniversalDependencies
from lightning_prune.data.conllu import read_conllu
from lightning_prune.data.sentences import Sentences
from lightning_prune.data.vocabulary import Vocabulary

ROOT = Path(os.environ.get("LIGHTNING_PRUNE_DATA", "../shared/data"))


def line(number, word, tag):
    return "\t".join([number, word, "_", tag, *["_"] * 6])


def ready(**options):
    data = UniversalDependencies(ROOT, subset="small", **options)
    data.prepare_data()
    data.setup()
    return data


def test_tokens_of_two_words_and_unwritten_words_are_passed_over(tmp_path):
    file = tmp_path / "a.conllu"
    rows = [
        "# text = I don't", line("1", "I", "PRON"), line("2-3", "don't", "_"),
        line("2", "do", "AUX"), line("3", "n't", "PART"), line("3.1", "go", "VERB"), "",
        line("1", "Oh\u2028!", "INTJ"),
    ]  # fmt: skip
    for end in ("\n", "\r\n"):
        file.write_bytes(end.join(rows).encode())
        assert read_conllu(file) == [
            (("I", "do", "n't"), ("PRON", "AUX", "PART")),
            (("Oh\u2028!",), ("INTJ",)),
        ]
    file.write_text("\n".join([*rows, "1\tno"]))
    with pytest.raises(ValueError, match=r"Line 9 of .* has 2 fields and not the 10"):
        read_conllu(file)
    for content in (b"", b"# nothing\n", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="put the official file there"):
            read_conllu(file)


def test_the_treebank_has_its_published_size():
    sentences = read_conllu(ROOT / "ud-english-ewt" / "en_ewt-ud-dev.conllu")
    assert (len(sentences), sum(len(s.words) for s in sentences)) == (2001, 25147)


def test_frequent_words_have_numbers():
    words = Vocabulary(["b", "a", "b", "c", "a", "b", "d"], size=4)
    assert words.words == ["<pad>", "<unk>", "b", "a"]
    assert words.encode(["a", "b", "c", "<pad>"]) == [3, 2, 1, 1]
    assert Vocabulary(["d", "c", "b", "a"], size=9).words[2:] == ["a", "b", "c", "d"]
    assert len(Vocabulary(["b", "a", "b"], size=9, least=2)) == 3
    with pytest.raises(ValueError, match="size >= 3"):
        Vocabulary([], size=2)


def test_long_sentences_are_cut_and_batches_padded():
    data = Sentences([[2, 3, 4, 5, 6], [7]], [[0, 1, 2, 3, 4], [5]], length=3)
    assert [len(words) for words, _ in data] == [3, 2, 1]
    ids, tags = data.collate([data[1], data[2]])
    assert (ids.tolist(), tags.tolist()) == ([[5, 6], [7, 0]], [[3, 4], [5, -100]])
    data.padded = True
    assert data.collate([data[2]])[0].tolist() == [[7, 0, 0]]


def test_words_are_those_of_the_training_part_and_none_is_lost():
    data = ready(vocabulary=500, batch_size=16, length=20)
    assert len(data.words) == 500
    assert len(data.sets["train"]) > 400  # 400 sentences, some in pieces
    for part, file in (("train", "train"), ("val", "dev"), ("test", "test")):
        path = ROOT / "ud-english-ewt" / "small" / f"en_ewt-ud-{file}.conllu"
        words = sum(len(sentence.words) for sentence in read_conllu(path))
        batches = list(data.loader(part))
        assert sum(int((tags >= 0).sum()) for _, tags in batches) == words
        for ids, tags in batches:
            assert ids.dtype == tags.dtype == torch.int64
            assert ids.shape == tags.shape
            assert ids.shape[1] <= 20
            assert ids.max() < 500
            assert torch.equal(ids == 0, tags == -100)
            assert tags.max() < 17
    # every number is in use in the training part, and unknown words are in the test part
    assert torch.cat([ids.flatten() for ids, _ in data.train_dataloader()]).unique().numel() == 500
    assert any((ids == 1).any() for ids, _ in data.test_dataloader())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_continues_in_the_middle(workers):
    def loader(seed=1):
        return ready(seed=seed, batch_size=32, workers=workers).train_dataloader()

    straight, again, other = loader(), loader(), loader(seed=2)
    for one in (straight, other):
        one.sampler.set_epoch(1)
    batches = iter(straight)
    seen = [next(batches) for _ in range(3)]
    again.load_state_dict(straight.state_dict())
    for batch, same in zip(list(batches), list(again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))
    first = next(iter(other))[0]
    assert first.shape != seen[0][0].shape or not torch.equal(first, seen[0][0])


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"en_ewt-ud-train\.conllu is not in .*ud-english-ewt; put"
    ):
        UniversalDependencies(tmp_path).prepare_data()
    folder = tmp_path / "ud-english-ewt"
    folder.mkdir()
    for part in ("train", "dev", "test"):
        (folder / f"en_ewt-ud-{part}.conllu").write_text(line("1", "a", "NN") + "\n")
    with pytest.raises(ValueError, match="has the tag 'NN', which is none of the 17"):
        UniversalDependencies(tmp_path).setup()
    with pytest.raises(ValueError, match="vocabulary >= 3"):
        UniversalDependencies(vocabulary=2)
