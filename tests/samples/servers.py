"""Servers that receive events from samples and run as processes in a test's directory."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from helpers.ports import reserve_port
from helpers.waiting import until

# Debian installs some servers in /usr/sbin, which is not on every user's PATH.
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


class Server:
    """A restartable server on a free port on 127.0.0.1.

    :param directory: the server's current directory, which also contains its log
    :param executable: the name of the program
    :param package: the Debian package of the program
    """

    def __init__(self, directory: Path, executable: str, package: str) -> None:
        found = shutil.which(executable, path=PATH)
        assert found, f"{executable} is not installed: apt-get install {package}"
        self.directory = directory
        self.command = [found]
        self.port = reserve_port()

    def start(self) -> None:
        """Start the server and return when it answers."""
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(self.command, cwd=self.directory, stdout=output, stderr=output)

        def answers() -> bool:
            assert self._process.poll() is None, log.read_text()
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers, f"{self.command[0]} answers")

    def end(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Stop the server if it is running."""
        self._process.send_signal(with_signal)
        self._process.wait()
