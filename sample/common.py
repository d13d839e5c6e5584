"""Code shared by the samples for configuration, logging, secrets and shutdown."""

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dxlclient.message import Event

from dxlthreateventclient.exceptions import BrokerConnectionError, ConfigurationError

CONFIG_FILE = os.environ.get("DXLCLIENT_CONFIG") or Path(__file__).with_name("dxlclient.config")
"""The value of the environment variable DXLCLIENT_CONFIG, or ``sample/dxlclient.config``."""

GRACE = 8
"""The number of seconds a sample may continue after a signal. Docker kills it after 10 seconds."""

# Log warnings and errors from dxlclient and this library to stderr. The log includes each gap, each event
# that could not be handled, and the number of unread events in a closed stream.
logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)

# Escape any characters that the terminal or pipe cannot encode.
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")


class _Signals:
    """Handles SIGINT (Ctrl-C) and SIGTERM.

    The first signal asks a sample to finish. A second signal or the end of the grace period interrupts the
    sample.
    """

    count = 0
    finish: Callable[[], object] | None = None

    def handle(self, *_: object) -> None:
        self.count += 1
        if self.count == 1:
            if hasattr(signal, "alarm"):  # not on Windows
                signal.alarm(GRACE)
            if self.finish is not None:
                self.finish()
                return
        raise KeyboardInterrupt


_signals = _Signals()


def run(main: Callable[[], None]) -> None:
    """Run a sample until it finishes, or until SIGINT (Ctrl-C) or SIGTERM arrives.

    The exit status is 0 if all work was done, 1 if a signal left work unfinished or no broker could be
    reached, and 2 if the configuration is invalid. The reason for a failure is printed on one line.
    """
    for name in ("SIGINT", "SIGTERM", "SIGALRM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _signals.handle)
    try:
        main()
    except KeyboardInterrupt:
        if _signals.count > 1:
            print("Stopped before all was done.", file=sys.stderr)
            sys.exit(1)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokerConnectionError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    if _signals.count:
        print("Stopped.", file=sys.stderr)


def on_stop(finish: Callable[[], object]) -> None:
    """On the first signal, call a function such as ``stream.drain()`` instead of interrupting the sample."""
    _signals.finish = finish


def until_stopped() -> Iterator[None]:
    """Loop until a signal arrives, then complete the current iteration."""
    on_stop(lambda: None)
    while not _signals.count:
        yield


@contextmanager
def handling(original_event: Event) -> Iterator[None]:
    """Print an event's message ID if its handling is interrupted."""
    try:
        yield
    except BaseException:
        print(f"Not finished: {original_event.message_id!r}", file=sys.stderr)
        raise


def secret(name: str) -> str | None:
    """Return an environment variable's value, or the contents of the file named in ``<name>_FILE``.

    :raise ConfigurationError: if the file cannot be read
    """
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return os.environ.get(name, "").strip() or None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name}_FILE: cannot read {file}: {error}") from error


def kafka_settings(file: str) -> dict[str, str]:
    """Return the settings from a file of ``name=value`` lines, or let argparse report an error."""
    settings = {}
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {file}: {error}") from error
    for number, line in enumerate(lines, 1):
        name, equals, value = map(str.strip, line.partition("="))
        if equals and not name.startswith("#"):
            settings[name] = value
        elif name and not name.startswith("#"):  # do not show the line, because it may contain a password
            raise argparse.ArgumentTypeError(f"{file}, line {number}: must be name=value")
    return settings


def positive(text: str) -> int:
    """Convert an option's value to a positive integer, or let argparse report an error."""
    if not text.isdecimal() or not 0 < int(text) <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {sys.maxsize}, got {text!r}")
    return int(text)


def missing_extra(error: ModuleNotFoundError) -> int:
    """Print the command that installs a sample's dependencies. Return the exit status."""
    print(f"{error}: pip install 'dxlthreateventclient[samples]'", file=sys.stderr)
    return 2
