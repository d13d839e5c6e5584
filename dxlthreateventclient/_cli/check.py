"""The ``check`` subcommand, which finds out why no events arrive."""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from dxlclient.broker import Broker
from dxlclient.client_config import DxlClientConfig
from dxlclient.exceptions import DxlException

from dxlthreateventclient import BrokerConnectionError, CommonThreatEventClient, connect
from dxlthreateventclient._cli import arguments
from dxlthreateventclient._cli.broker import Echo, closing_client
from dxlthreateventclient._cli.signals import INTERRUPTED
from dxlthreateventclient._cli.terminal import painted, write
from dxlthreateventclient.client import EPO_THREAT_EVENT_RESPONSE_TOPIC
from dxlthreateventclient.configuration import Step, steps
from dxlthreateventclient.connection import address, try_broker
from dxlthreateventclient.formats import one_line

_STYLES = {"ok": "32", "warning": "33", "failed": "1;31", "skipped": "2"}
# A certificate that expires within this many days causes a warning.
_SOON = 30
# After the test message, the broker has this many seconds to acknowledge the subscription.
_ACKNOWLEDGED_WITHIN = 3.0
_HINT = (
    "All is well here. If no threat events arrive, check ePO: its automatic response 'Send DXL Threat Event'"
    " must be enabled, with a filter that lets the events through. The fabric must also let this client"
    " receive on the topic, because a broker acknowledges even subscriptions that it forbids."
)


def add_subcommands(subcommands: arguments.Subcommands) -> None:
    """Add the parser of ``check``."""
    parser = arguments.add_subcommand(
        subcommands,
        "check",
        run_check,
        "Find out why no events arrive. Checks the configuration, the certificates, each broker, and that a"
        " test message comes back. Nothing is sent on the topic of the threat events.",
        ("", "--config my/dxlclient.config", "--json --warn-days 14"),
    )
    parser.set_defaults(interrupted=INTERRUPTED)
    arguments.add_config(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON object, for programs")
    what = "exit with status 1 if a certificate expires within N days"
    parser.add_argument("--warn-days", metavar="N", type=arguments.positive, help=what)


def run_check(options: argparse.Namespace) -> int:
    """Run and report each step. Skip the steps that depend on a failed step."""
    report = _Report(options)
    config, can_connect = None, True
    for step in steps(options.config):
        config, can_connect = config or step.config, can_connect and not step.error
        report.run(step.name, partial(_outcome, step), status=2)
    if config:
        # Try every broker, even if a connection to an earlier broker succeeded.
        usable = [
            report.run(f"broker {address(broker)}", partial(_try, config, broker, can_connect), status=1)
            for broker in config.brokers
        ]
        if can_connect and any(usable):
            _check_feed(report, config)
        else:
            report.add("skipped", "message", "no broker can be used")
    return report.end()


class Finding(NamedTuple):
    """The result of a step that succeeded, with or without a warning."""

    detail: str
    ends: datetime | None = None  # when a certificate expires
    is_warning: bool = False


def _outcome(step: Step) -> Finding:
    if step.error:
        raise step.error
    return Finding(step.detail, step.ends, step.is_warning)


def _try(config: DxlClientConfig, broker: Broker, can_connect: bool) -> Finding:
    version, ends = try_broker(config, broker, with_tls=can_connect)
    if not ends:
        return Finding(f"{version}; all further steps need the certificates and the key")
    detail = f"{version}, accepts the client certificate; broker certificate valid until {ends:%Y-%m-%d}"
    return Finding(detail, ends)


def _check_feed(report: "_Report", config: DxlClientConfig) -> None:
    with closing_client(config) as client:
        feed, echo = CommonThreatEventClient(client), Echo(client)
        feed.add_epo_threat_event_response_callback(lambda *_: None)

        def send() -> Finding:
            connect(client, retries=0)
            return Finding(f"sent on a separate topic and received after {1000 * echo.wait():.0f} ms")

        def subscribe() -> Finding:
            deadline = time.monotonic() + _ACKNOWLEDGED_WITHIN
            while not feed.status().subscribed:
                if time.monotonic() > deadline:
                    raise DxlException(f"the broker has not acknowledged {EPO_THREAT_EVENT_RESPONSE_TOPIC}")
                time.sleep(0.01)
            return Finding(f"the broker has acknowledged {EPO_THREAT_EVENT_RESPONSE_TOPIC}")

        if report.run("message", send, status=1):
            report.run("subscription", subscribe, status=1)


class _Report:
    """Writes a line for each step and records the exit status."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._status = 0
        self._steps: list[dict[str, str]] = []
        self._failures: list[tuple[bool, str]] = []

    def run(self, step: str, check: Callable[[], Finding], *, status: int) -> bool:
        """Run a step and report its result. The step fails if the check raises an exception.

        :param status: the exit status if the step fails
        :return: True unless the step failed
        """
        try:
            detail, ends, is_warning = check()
        except (BrokerConnectionError, DxlException, ValueError) as error:
            # A permanent error is a more likely cause than one that a retry may resolve.
            may_pass = isinstance(error, BrokerConnectionError) and not error.is_final
            self._failures.append((may_pass, f"{step}: {error}"))
            self.add("failed", step, str(error), status=status)
            return False
        status = 0
        days = (ends - datetime.now(timezone.utc)).days if ends else None
        if days is not None and days < (self._options.warn_days or _SOON):
            detail, is_warning = f"{detail}, in {days} days: renew it soon", True
            status = 1 if self._options.warn_days else 0
        self.add("warning" if is_warning else "ok", step, detail, status=status)
        return True

    def add(self, result: str, step: str, detail: str, *, status: int = 0) -> None:
        """Report a step."""
        self._status = max(self._status, status)
        self._steps.append({"step": step, "result": result, "detail": detail})
        if not self._options.json:
            _say(painted(f"{result:9}", _STYLES[result]) + one_line(f"{step}: {detail}"))

    def end(self) -> int:
        """Report the most likely cause of the failures and return the exit status."""
        cause = min(self._failures, key=itemgetter(0))[1] if self._failures else None
        if self._options.json:
            _say(json.dumps({"status": self._status, "cause": cause, "steps": self._steps}, indent=4))
        elif cause:
            _say(f"Most likely cause: {one_line(cause)}")
        elif self._status == 0:
            _say(_HINT)
        return self._status


def _say(text: str) -> None:
    # If the reader has closed the pipe, the exit status must still tell the result.
    with suppress(BrokenPipeError):
        write(text)
