"""An event loop in a thread of its own, for adapters of asynchronous clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Loop:
    """Whole batches cross its boundary, never single messages. ``name`` is the thread's."""

    def __init__(self, name: str) -> None:
        self.events = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run in the loop and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self.events).result()

    def close(self) -> None:
        """Cancel the tasks that still run. Idempotent."""
        if self.events.is_closed():
            return
        self.events.call_soon_threadsafe(self.events.stop)
        self._thread.join()
        self.events.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.events)
        self.events.run_forever()
        left = asyncio.all_tasks(self.events)
        for task in left:
            task.cancel()
        self.events.run_until_complete(asyncio.gather(*left, return_exceptions=True))
