"""``python -m dxlthreateventclient``."""

import sys

from dxlthreateventclient.cli import main

sys.exit(main())
