"""`lightning-prune-report`: what it says, and how it answers mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pages import report, sweep, write

from lightning_prune.cli.report import main


def test_it_says_where_the_page_is(tmp_path: Path, capsys):
    sweep(tmp_path / "s")
    main([str(tmp_path / "s"), "--output", str(tmp_path / "r"), "--title", "Digits"])
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'r' / 'index.html'}: 6 runs in 1 group\n"
    assert said.err == ""
    assert "<h1>Digits</h1>" in (tmp_path / "r" / "index.html").read_text()


def test_it_names_what_is_not_on_the_page(tmp_path: Path, capsys):
    sweep(tmp_path / "s", methods=("lamp",), seeds=1)
    write(tmp_path / "s" / "torn", report())
    (tmp_path / "s" / "torn" / "report.json").write_text("{")
    write(tmp_path / "s" / "twice", report(), identity=(tmp_path / "s/method=lamp/0").as_posix())
    main([str(tmp_path / "s"), "--output", str(tmp_path / "r")])
    first, torn, again, twice, note, last = capsys.readouterr().out.splitlines()
    assert first == "1 run could not be read:"
    assert torn == f"  {tmp_path}/s/torn: its report.json is torn, or another program's"
    assert again == "1 run found again and counted once:"
    assert twice == f"  {tmp_path}/s/twice is {tmp_path}/s/method=lamp/0"
    assert "are the same run, but end at" in note
    assert last.endswith("index.html: 1 run in 1 group")


MISTAKES = {
    "missing": "There is no folder missing; give folders of runs or sweeps.",
    ".": "There is no run in .; a run's folder has a report.json or a run.json.",
    "good --delta -1": "--delta is a number from 0 on, not -1.",
    "good --delta nan": "--delta is a number from 0 on, not nan.",
    "good --output file": "file is a file; --output is a folder.",
    "good --output no/where": "There is no folder no to write into.",
    "good --metric test/none": "None of 1 runs could be read; the first, good: no event has the "
    "metric test/none.",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_answered_in_one_line(arguments: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if arguments.startswith("good"):
        write(tmp_path / "good", report())
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"lightning-prune-report: {MISTAKES[arguments]}\n"
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["missing"], 1), ([], 2)])
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], status: int, tmp_path: Path):
    code = (
        "import sys\n"
        "from lightning_prune.cli.report import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        "    heavy = {'torch', 'pandas', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_progress_is_one_line_on_a_terminal(tmp_path: Path, monkeypatch, capsys):
    sweep(tmp_path / "s", methods=("magnitude",), seeds=11)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main([str(tmp_path / "s"), "--output", str(tmp_path / "r")])
    told = capsys.readouterr().err
    assert "\n" not in told
    assert "reading 10/11" in told
    assert "drawing 11 runs" in told
