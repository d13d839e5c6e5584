"""Renders the demo as an SVG image: ``python docs/render_demo.py``."""

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_name("images") / "demo.svg"
COMMAND = ["python", "-m", "dxlthreateventclient", "demo", "--format", "text"]
COLUMNS = 110
FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'


def run_demo() -> str:
    """Run the demo in a terminal and return its output, including escape sequences."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *COMMAND[1:]],
        env=os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown = b""
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal's output as an error
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    if process.wait():
        sys.exit(f"the demo failed:\n{shown.decode()}")
    return shown.decode().replace("\r\n", "\n")


def main() -> None:
    """Render the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
    console.print(Text.from_ansi(run_demo().rstrip("\n")))
    picture = console.export_svg(title="threat events arriving", theme=MONOKAI, unique_id="demo")
    # Remove the web font from Rich's SVG so that browsers do not download it.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture.replace("Fira Code, monospace", FONTS), encoding="utf-8")


if __name__ == "__main__":
    main()
