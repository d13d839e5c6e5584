"""The subcommand ``check``: finds out why no events arrive."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig
from dxlclient.exceptions import DxlException

from dxlthreateventclient import configuration
from dxlthreateventclient._cli.arguments import add_config, add_subcommand
from dxlthreateventclient._cli.connection import closing_client, connect
from dxlthreateventclient._cli.echo import Echo
from dxlthreateventclient._cli.errors import CommandError
from dxlthreateventclient._cli.messages import one_line
from dxlthreateventclient._cli.output import write
from dxlthreateventclient._cli.probe import BrokerError, address, through_proxy, try_tcp, try_tls
from dxlthreateventclient._cli.signals import INTERRUPTED
from dxlthreateventclient._cli.text import painter

_STYLES = {"ok": "green", "failed": "bold red", "skipped": "yellow"}
_HINT = (
    "All is well here. If no threat events arrive, look on the side of ePO: its automatic response 'Send DXL"
    " Threat Event' has to be enabled, with a filter that lets the events through; and the fabric has to let"
    " this client receive on the topic, for it says nothing where it does not."
)


def add_subcommands(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of ``check``."""
    parser = add_subcommand(
        subcommands,
        "check",
        summary="find out why no events arrive",
        description="Check the configuration, the certificates, each broker, and whether a message that is"
        " sent comes back. Nothing is sent on the topic of the threat events.",
        examples=("", "--config my/dxlclient.config"),
    )
    add_config(parser)
    parser.set_defaults(run=run_check, interrupted=INTERRUPTED)


def run_check(options: argparse.Namespace) -> int:
    """Report on each step. Those that need one that failed are skipped."""
    report = _Report()
    config = None
    with report.step("configuration", status=2) as tell_detail:
        config = configuration.read_settings(options.config)
        tell_detail(f"{options.config} is complete")
    if config is None:
        return report.status
    _check_files(report, options.config, config)
    can_connect = _can_be_loaded(options.config)
    # All are tried, not only those before the first that works.
    usable = [broker for broker in config.brokers if _check_broker(report, config, broker, can_connect)]
    if usable:
        _check_message(report, config)
    else:
        report.skip("message", "no broker can be used")
    if report.status == 0:
        write(_HINT)
    return report.status


def _check_files(report: "_Report", path: Path, config: DxlClientConfig) -> None:
    try:
        from dxlthreateventclient._cli import certificates  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        raise CommandError(str(error), status=2) from error
    ca_bundle, cert_file, key_file = configuration.certificate_files(config).items()
    with report.step("CA certificates", status=2) as tell_detail:
        configuration.check_readable(path, *ca_bundle)
        configuration.check_ca(path, config)
        tell_detail(certificates.describe_ca_certificates(config.broker_ca_bundle))
    with report.step("client certificate", status=2) as tell_detail:
        configuration.check_readable(path, *cert_file)
        tell_detail(certificates.describe_client_certificate(config.cert_file))
    with report.step("private key", status=2) as tell_detail:
        configuration.check_readable(path, *key_file)
        configuration.check_readable(path, *cert_file)
        configuration.check_key(path, config)
        tell_detail(f"{config.private_key} belongs to the certificate")


def _can_be_loaded(path: Path) -> bool:
    """Return whether a client can be made, if perhaps with a certificate that is not valid now."""
    try:
        configuration.load_configuration(path)
    except configuration.ConfigurationError:
        return False
    return True


def _check_broker(report: "_Report", config: DxlClientConfig, broker: Broker, can_connect: bool) -> bool:
    """Return whether a client can use a broker, as far as that can be told."""
    name = f"broker {address(broker)}"
    if through_proxy(config):
        report.skip(name, f"behind the proxy {config.proxy_addr}:{config.proxy_port} the message below tells")
        return True
    connection = None
    with report.step(f"{name}, TCP", status=1) as tell_detail:
        connection = try_tcp(broker)
        tell_detail("reachable")
    if connection is None:
        return False
    if not can_connect:
        connection.close()
        report.skip(f"{name}, TLS", "it takes the certificates and the key")
        return False
    is_usable = False
    with report.step(f"{name}, TLS", status=1) as tell_detail:
        version = try_tls(config, broker, connection)
        is_usable = True
        tell_detail(
            f"{version}; over WebSockets the message below tells whether the client is accepted"
            if config.use_websockets
            else f"{version}, the broker's certificate is valid, and it accepts the client certificate"
        )
    return is_usable


def _check_message(report: "_Report", config: DxlClientConfig) -> None:
    with report.step("message", status=1) as tell_detail, closing_client(config) as client:
        echo = Echo(client)
        connect(client, retries=0)
        seconds = echo.wait()
        tell_detail(f"sent on a topic of its own, and back after {1000 * seconds:.0f} ms")


class _Report:
    """Writes a line for each step, and keeps the exit status."""

    def __init__(self) -> None:
        self.status = 0
        self._paint = painter()

    @contextmanager
    def step(self, name: str, *, status: int) -> Iterator[Callable[[str], None]]:
        """Report a step: as failed, with what to do, if the block raises, else as done.

        :param status: the exit status if it fails
        :return: what takes the detail that is reported when it is done
        """
        details: list[str] = []
        try:
            yield details.append
        except (BrokerError, CommandError, DxlException, configuration.ConfigurationError) as error:
            self.status = max(self.status, status)
            self._write("failed", name, str(error))
        else:
            self._write("ok", name, *details)

    def skip(self, name: str, reason: str) -> None:
        """Report a step that is left out."""
        self._write("skipped", name, reason)

    def _write(self, result: str, name: str, detail: str) -> None:
        write(self._paint([(f"{result:9}", _STYLES[result]), (one_line(f"{name}: {detail}"), "")]))
