from abc import ABCMeta, abstractmethod
from typing import Any, ClassVar

class Message(metaclass=ABCMeta):
    MESSAGE_VERSION: ClassVar[int]
    MESSAGE_TYPE_REQUEST: ClassVar[int]
    MESSAGE_TYPE_RESPONSE: ClassVar[int]
    MESSAGE_TYPE_EVENT: ClassVar[int]
    MESSAGE_TYPE_ERROR: ClassVar[int]
    destination_topic: str
    # Normally bytes, but the sender may use any MessagePack value.
    payload: Any
    broker_ids: list[str]
    client_ids: list[str]
    other_fields: dict[str, str]
    source_tenant_guid: str
    destination_tenant_guids: list[str]
    def __init__(self, destination_topic: str) -> None: ...
    @property
    def version(self) -> int: ...
    @property
    def message_id(self) -> str: ...
    @property
    def source_client_id(self) -> str: ...
    @property
    def source_broker_id(self) -> str: ...
    @property
    @abstractmethod
    def message_type(self) -> int: ...

class Event(Message):
    @property
    def message_type(self) -> int: ...

class Request(Message):
    reply_to_topic: str
    service_id: str
    @property
    def message_type(self) -> int: ...

class Response(Message):
    def __init__(self, request: Request) -> None: ...
    @property
    def message_type(self) -> int: ...
    @property
    def request(self) -> Request: ...
    @property
    def request_message_id(self) -> str: ...
    @property
    def service_id(self) -> str: ...

class ErrorResponse(Response):
    def __init__(self, request: Request, error_code: int = 0, error_message: str | bytes = "") -> None: ...
    @property
    def error_code(self) -> int: ...
    @property
    def error_message(self) -> str: ...
