"""``python -m dxlthreateventclient``."""

import sys

from dxlthreateventclient._cli import main

sys.exit(main())
