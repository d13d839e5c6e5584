from os import PathLike
from typing import Any

from dxlclient.broker import Broker

class DxlClientConfig:
    broker_ca_bundle: str
    cert_file: str
    private_key: str
    brokers: list[Broker]
    websocket_brokers: list[Broker] | None
    use_websockets: bool
    proxy_addr: str | None
    proxy_port: int | str | None
    proxy_username: str | None
    proxy_password: str | None
    proxy_type: int
    proxy_rdns: bool
    incoming_message_queue_size: int
    incoming_message_thread_pool_size: int
    connect_retries: int
    keep_alive_interval: int
    reconnect_back_off_multiplier: float
    reconnect_delay: float
    reconnect_delay_max: float
    reconnect_delay_random: float
    reconnect_when_disconnected: bool
    def __init__(
        self,
        broker_ca_bundle: str,
        cert_file: str,
        private_key: str,
        brokers: list[Broker],
        websocket_brokers: list[Broker] | None = None,
        **proxy_args: Any,
    ) -> None: ...
    @staticmethod
    def create_dxl_config_from_file(dxl_config_file: str | PathLike[str]) -> DxlClientConfig: ...
    def write(self, file_path: str | PathLike[str]) -> None: ...
