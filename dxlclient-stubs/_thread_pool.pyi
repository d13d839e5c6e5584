from typing import Any

# Private, but dxlbootstrap uses it.
def __getattr__(name: str) -> Any: ...
