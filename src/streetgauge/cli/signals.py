"""How a run ends when a scheduler or a closed terminal ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Self

from streetgauge.errors import Stopped


class EndingBySignal:
    """End at the signals of schedulers and of closed terminals as by Ctrl-C, all closed.

    A second one is passed over: the first is on its way. One that is ignored (nohup) stays so.
    One that Python loses, since it came within a destructor, is sent again.
    """

    def __enter__(self) -> Self:
        wanted = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        self._before = {each: signal.getsignal(each) for each in wanted if each is not None}
        if threading.current_thread() is not threading.main_thread():
            self._before = {}
        self._ending = False
        self._report, sys.unraisablehook = sys.unraisablehook, self._lost
        for each, handler in self._before.items():
            if handler == signal.SIG_DFL:
                signal.signal(each, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._report
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            _send_again(number)
        elif not self._ending:
            self._ending = True
            raise Stopped(signal.Signals(number).name, number)

    def _lost(self, ignored: sys.UnraisableHookArgs) -> None:
        """Take what an error in a destructor would lose."""
        if isinstance(ignored.exc_value, Stopped):
            self._ending = False
            _send_again(ignored.exc_value.number)
        elif isinstance(ignored.exc_value, KeyboardInterrupt):
            _send_again(signal.SIGINT)
        else:
            self._report(ignored)


def _send_again(number: int) -> None:
    again = threading.Timer(0.02, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    """Tell whether a module is being loaded: a compiled one may pass on an error of its own."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
