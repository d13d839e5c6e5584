from typing import Any

# This private module is used by dxlbootstrap.
def __getattr__(name: str) -> Any: ...
