import os
import pickle
import re

import numpy as np
import pytest

from lightning_prune.data.pickles import read_pickle

CONTENT = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], "name": "a"}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_lists_and_strings_are_read(tmp_path, protocol):
    file = tmp_path / "batch"
    file.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    content = read_pickle(file)
    assert np.array_equal(content["data"], CONTENT["data"])
    assert content["data"].dtype == np.uint8
    assert (content["labels"], content["name"]) == ([1, 2, 3], "a")


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_a_pickle_that_would_run_something_is_refused_in_one_sentence(tmp_path):
    file, trace = tmp_path / "batch", tmp_path / "trace"
    for call in (
        Call(os.system, f"touch {trace}"),
        Call(eval, f"open({str(trace)!r}, 'w')"),
        Call(__import__, "subprocess"),
        Call(open, str(trace), "w"),
    ):
        file.write_bytes(pickle.dumps({"data": call}, protocol=2))
        with pytest.raises(
            ValueError, match=rf"^{re.escape(str(file))} asks for \S+, .* not loaded; get .*file"
        ) as caught:
            read_pickle(file)
        assert "\n" not in str(caught.value)
        assert not trace.exists()


def test_damaged_files_are_named(tmp_path):
    file = tmp_path / "batch"
    whole = pickle.dumps(CONTENT, protocol=2)
    for content in (b"", b"<html>404</html>", whole[:-20], whole[:40]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged or truncated"):
            read_pickle(file)
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="holds no dict"):
        read_pickle(file)
