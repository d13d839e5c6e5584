"""A DXL client that connects or says what to do, tells when it is cut off, and is closed in time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from dxlclient.client import DxlClient
from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import tell
from dxlthreateventclient._cli.probe import BrokerError, address, through_proxy, try_broker
from dxlthreateventclient._cli.signals import pause
from dxlthreateventclient.configuration import load_configuration
from dxlthreateventclient.exceptions import ConfigurationError

# In seconds, all of them.
_KEEP_ALIVE = 120
_LONGEST_DELAY = 60
_CONNECT_WITHIN = 20.0
_CLOSE_WITHIN = 0.2
_LOOK_EVERY = 0.1


@contextmanager
def dxl_client(config_file: Path) -> Iterator[DxlClient]:
    """Make a client, not yet connected, and close it in the end.

    :raise CommandError: if the configuration is wrong
    """
    try:
        config = load_configuration(config_file)
    except ConfigurationError as error:
        raise CommandError(str(error), status=2) from error
    # dxlclient would ask for a sign of life every half an hour, and not notice before then that a firewall
    # forgot the connection. No configuration file can change that.
    config.keep_alive_interval = _KEEP_ALIVE
    with closing_client(config) as client:
        yield client


@contextmanager
def closing_client(config: DxlClientConfig) -> Iterator[DxlClient]:
    """Make a client of a configuration and close it in the end."""
    try:
        client = DxlClient(config)
    except Exception as error:  # dxlclient and what it uses raise what they like
        raise CommandError(f"cannot make a DXL client of the configuration: {error}", status=2) from error
    try:
        yield client
    finally:
        # Unsubscribing takes moments, but the whole of it a second, and minutes where the broker is gone
        # without a word. The end of the process does the rest.
        closing = threading.Thread(target=client.destroy, daemon=True)
        closing.start()
        closing.join(_CLOSE_WITHIN)


def connect(client: DxlClient, *, retries: int) -> None:
    """Connect a client, saying on stderr why it takes long.

    :param retries: how often to try again while no broker can be reached; -1 is for ever
    :raise CommandError: if it cannot connect
    """
    config = client.config
    if through_proxy(config):
        config.connect_retries = retries
        timeout = None
    else:
        _wait_for_broker(config, retries)
        config.connect_retries = 0
        timeout = _CONNECT_WITHIN
    failures = [f"no answer within {_CONNECT_WITHIN:.0f} seconds"]

    def connect_client() -> None:
        try:
            client.connect()
        except Exception as error:  # noqa: BLE001 - dxlclient's own threads take its parts away meanwhile
            failures.append(str(error))
        else:
            failures.clear()

    # A thread, since dxlclient waits without a limit for a broker that stops answering.
    connecting = threading.Thread(target=connect_client, daemon=True)
    connecting.start()
    connecting.join(timeout)
    if failures:
        brokers = ", ".join(map(address, config.brokers))
        raise CommandError(
            f"cannot connect to {brokers}: {failures[-1]}; the subcommand 'check' tells more", status=1
        )


def _wait_for_broker(config: DxlClientConfig, retries: int) -> None:
    """Return when one of the brokers can be used."""
    delay = 1
    for attempt in count():
        errors = []
        for broker in config.brokers:
            try:
                try_broker(config, broker)
            except BrokerError as error:
                errors.append(error)
            else:
                return
        # One that refuses for good is what there is to mend, whatever becomes of the others.
        final = [error for error in errors if error.is_final]
        message = "; ".join(map(str, final or errors))
        if final or attempt == retries:
            raise CommandError(message, status=1)
        tell(f"{message} Trying again in {delay} s.")
        pause(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


@contextmanager
def connection_told(client: DxlClient) -> Iterator[None]:
    """Tell on stderr when the connection is lost, and when it is back."""
    ended = threading.Event()

    def watch() -> None:
        was_connected = True
        # A thread of its own: while dxlclient subscribes again, the question takes as long as that.
        while not ended.wait(_LOOK_EVERY):
            is_connected = client.connected
            if was_connected and not is_connected and not ended.is_set():
                tell("The connection to the broker is lost. Connecting again; DXL keeps no events meanwhile.")
            elif is_connected and not was_connected:
                tell("Connected again.")
            was_connected = is_connected

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
