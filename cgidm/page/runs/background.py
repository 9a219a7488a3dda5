"""Runs that go on when nobody watches: each in a thread of the server, one at a time; watchers come and go.

On ZeroGPU the GPU is lent to a visitor's own request, so there a run goes on only while somebody watches.
"""

import dataclasses
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

from cgidm.run.events import RunEvent

from . import hardware
from .runner import execute_run
from .store import Run

HEARTBEAT = 0.5  # seconds after which a watcher is handed nothing, so that it can notice that nobody listens


class WaitingLine:
    """Who computes: one at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def wait(self, given_up: threading.Event | None = None) -> Iterator[bool]:
        """Wait for one's turn, which lasts until the end of the block; False if it was given up before."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        try:
            with self._changed:
                while self._line[0] is not ticket and not (given_up is not None and given_up.is_set()):
                    self._changed.wait(HEARTBEAT)
                has_turn = self._line[0] is ticket
            yield has_turn
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()


LINE = WaitingLine()


class RunThread:
    """A run that is being executed in a thread of its own."""

    def __init__(self, run: Run, token: str | None) -> None:
        self.run, self._token = run, token
        self._stop, self.over = threading.Event(), threading.Event()
        self._last: RunEvent | None = None
        self._error: Exception | None = None
        self._watchers: list[queue.SimpleQueue[RunEvent | None]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="run", daemon=True).start()

    def stop(self) -> None:
        """Put the run down at its next event."""
        self._stop.set()

    def follow(self) -> Generator[RunEvent | None]:
        """Yield what happens from now on, and None now and then. Closing the iterator leaves the run alone.

        Raises:
            UserError: as the run does.
        """
        told: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        with self._lock:
            if self._last is not None:
                told.put(self._last)
            self._watchers.append(told)
        try:
            while True:
                try:
                    event = told.get(timeout=HEARTBEAT)
                except queue.Empty:
                    if self.over.is_set() and told.empty():
                        break
                    yield None
                    continue
                if event is not None:
                    yield event
        finally:
            with self._lock:
                self._watchers.remove(told)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            with LINE.wait(self._stop) as has_turn:
                if has_turn and not self._stop.is_set():
                    self._execute()
        except Exception as error:  # whoever watches raises it
            self._error = error
        finally:
            self.over.set()
            with _LOCK:
                _THREADS.pop(self.run.name, None)
            self._tell(None)

    def _execute(self) -> None:
        with closing(execute_run(self.run, self._token)) as events:
            for event in events:
                self._tell(dataclasses.replace(event, progress=None, result=None))  # what is shown is read from disk
                if self._stop.is_set():
                    return

    def _tell(self, event: RunEvent | None) -> None:
        with self._lock:
            self._last = event or self._last
            for watcher in self._watchers:
                watcher.put(event)


_THREADS: dict[str, RunThread] = {}
_LOCK = threading.Lock()


def runs_go_on_alone() -> bool:
    """Whether a run needs nobody who watches: the GPU is this machine's own."""
    return hardware.kind() != "zero"


def follow_run(run: Run, token: str | None = None) -> Generator[RunEvent | None]:
    """Begin a run or go on with it, unless it is going on already, and yield its events; None now and then.

    Closing the iterator leaves the run alone where it has a thread of its own, and puts it down on ZeroGPU.

    Raises:
        UserError: if a model or picture cannot be used.
    """
    if not runs_go_on_alone() or run.is_finished:
        with closing(execute_run(run, token)) as events:
            yield from events
        return
    with _LOCK:
        job = _THREADS.get(run.name) or _THREADS.setdefault(run.name, RunThread(run, token))
    with closing(job.follow()) as events:
        yield from events


def execute_when_free(run: Run, token: str | None = None) -> Generator[RunEvent]:
    """Do the same as `execute_run` when no other run computes; closing the iterator puts it down."""
    if not runs_go_on_alone():
        yield from execute_run(run, token)
        return
    with LINE.wait(), closing(execute_run(run, token)) as events:
        yield from events


def stop_run(run: Run, patience: float) -> None:
    """Put a run down, and wait for that at most `patience` seconds."""
    with _LOCK:
        job = _THREADS.get(run.name)
    if job is not None:
        job.stop()
        job.over.wait(patience)


def is_going_on(run: Run) -> bool:
    """Whether a run has a thread of its own, working or waiting for its turn."""
    with _LOCK:
        return run.name in _THREADS
