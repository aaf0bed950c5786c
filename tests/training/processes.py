"""New processes for the price of one: forked from a server that only imports, and never trains."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import torch

HERE = Path(__file__).resolve().parent


@functools.cache
def server() -> Any:
    """The context whose processes are forked; the imports are done once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["subject"])
    return made


def start(function: Callable, *arguments: Any, result: Path | None = None) -> BaseProcess:
    """Start a process that calls a function of a module and leaves its result in a file."""
    process = server().Process(target=_work, args=(function, arguments, result), daemon=False)
    # the server is started by the first call and finds what this process can import
    paths = os.pathsep.join([str(HERE), *sys.path])
    alone = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with mock.patch.dict(os.environ, PYTHONPATH=paths, **alone):
        process.start()
    return process


def in_new_process(function: Callable, *arguments: Any, folder: Path) -> Any:
    """What a function returns in a process that has done nothing before."""
    return in_new_processes([(function, *arguments)], folder)[0]


def in_new_processes(calls: list[tuple], folder: Path, limit: float = 120) -> list[Any]:
    """What functions return that run at the same time, each in a new process."""
    files = [folder / f"result_{os.urandom(4).hex()}.pt" for _ in calls]
    running = [start(*call, result=file) for call, file in zip(calls, files, strict=True)]
    end = time.monotonic() + limit
    while any(p.is_alive() for p in running) and time.monotonic() < end:
        if any(p.exitcode for p in running):  # the others may wait for it
            end = min(end, time.monotonic() + 5)
        time.sleep(0.01)
    for process in running:
        process.kill()
        process.join()
    failed = [file.with_suffix(".txt") for file in files if not file.is_file()]
    told = [file.read_text() if file.is_file() else "It did not end." for file in failed]
    assert not failed, "\n".join(told)
    return [torch.load(file, weights_only=True) for file in files]


def _work(function: Callable, arguments: tuple, result: Path | None) -> None:
    torch.set_num_threads(1)
    # a forked process would fork its data workers from a server of its own
    multiprocessing.set_start_method("fork", force=True)
    try:
        value = function(*arguments)
        if result is not None:
            torch.save(value, result.with_suffix(".tmp"))
            os.replace(result.with_suffix(".tmp"), result)
    except BaseException:
        if result is not None:
            result.with_suffix(".txt").write_text(traceback.format_exc())
        os._exit(1)  # what it was connected to is not waited for
