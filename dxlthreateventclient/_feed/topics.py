"""Topics, and the filters that end in ``/#``."""


def check_topic(topic: str) -> None:
    """Check that dxlclient can receive on a topic.

    :raise TypeError: if it is not a string
    :raise ValueError: if no event could arrive under it
    """
    if not isinstance(topic, str):
        raise TypeError(f"topic must be a string, got {topic!r}")
    levels = topic.split("/")
    if (
        not topic
        or "+" in topic
        or "\0" in topic
        or "#" in topic.removesuffix("#")
        or (topic[-1] == "#" and levels[-1] != "#")
    ):
        raise ValueError(f"topic must be an exact topic, or a filter that ends in '/#', got {topic!r}")


def matches(watched: str, topic: str) -> bool:
    """Return whether events on a topic come under a topic or filter: ``/a/#`` has ``/a``, too."""
    return watched == topic or (
        watched.endswith("#") and (topic.startswith(watched[:-1]) or topic == watched[:-2])
    )
