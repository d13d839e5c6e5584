"""What the command line says on stderr: one line for each message, whatever stands in it."""

import logging
import os
import sys
import threading
import traceback

from dxlthreateventclient.formats._values import harmless

# What dxlclient logs of a configuration without brokers and while a broker is away, and what is told instead.
_TOLD_OTHERWISE = (
    "Broker list is empty",
    "%s not defined in config file",
    "Error during connect",
    "Failed to connect to broker",
    "Socket could not be created",
    "Trying to disconnect a disconnected client",
    "Unexpected disconnect",
)


def one_line(text: str) -> str:
    """Return the text in one line, without what could steer a terminal."""
    return " ".join(harmless(text).split())


def tell(message: str) -> None:
    """Print a message for the user on stderr. Where nobody can read it, nothing happens."""
    if sys.stderr is None:  # started with it closed: print() would take stdout instead
        return
    try:
        print(one_line(message), file=sys.stderr, flush=True)
    except OSError:
        # What is left in the buffer would fail once more when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def tell_instead_of_tracebacks() -> None:
    """Make one line on stderr of each warning and error that is logged, or that ends a thread.

    dxlclient's threads let exceptions escape when a broker goes away.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    handler.addFilter(lambda record: not str(record.msg).startswith(_TOLD_OTHERWISE))
    for name in ("dxlclient", "dxlthreateventclient"):
        logging.getLogger(name).addHandler(handler)
    threading.excepthook = _tell_end_of_thread
    sys.unraisablehook = _tell_unraisable


def _tell_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    # A signal that came while a destructor ran is not lost: see pause().
    if not isinstance(failed.exc_value, KeyboardInterrupt):
        tell(f"{failed.err_msg or 'ignored'}: {_describe(failed.exc_value)}")


def _tell_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    packages = {
        str(frame.f_globals.get("__name__")).partition(".")[0]
        for frame, _ in traceback.walk_tb(ended.exc_traceback)
    }
    is_dxlclient = packages & {"dxlclient", "pahoproxy"} and "dxlthreateventclient" not in packages
    # Where a client is closed, or could not connect, its other threads find that its parts are gone, or not
    # there yet. Nobody can do anything about that.
    if not (is_dxlclient and isinstance(ended.exc_value, (AttributeError, RuntimeError))):
        tell(f"a thread ended: {_describe(ended.exc_value)}")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = f"{record.name.partition('.')[0]}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            message += f": {_describe(record.exc_info[1])}"
        return one_line(message)


def _describe(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
