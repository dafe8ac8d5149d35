"""The processes of a self-test. They end, and their temporary files go, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def workers() -> Iterator[Executor]:
    """One process a core. When something goes wrong, what still runs is stopped, not awaited."""
    with tempfile.TemporaryDirectory(prefix="brokerbench-selftest-") as directory:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(os.cpu_count(), context, initializer=_begin, initargs=(directory,))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown()
            raise
        pool.shutdown()


def _begin(directory: str) -> None:
    """Ctrl-C is the parent's to answer; when the parent is killed, so is this, with what it wrote."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = directory
    threading.Thread(target=_end_with_parent, args=(directory,), daemon=True).start()


def _end_with_parent(directory: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Another thread of this process may be writing there: what removes it waits for the end of all of them.
        subprocess.Popen(["/bin/sh", "-c", 'read _; rm -rf "$0"', directory], stdin=subprocess.PIPE)
        os._exit(1)
