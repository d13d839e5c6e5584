from dxlclient.broker import Broker as Broker
from dxlclient.callbacks import EventCallback as EventCallback
from dxlclient.client import DxlClient as DxlClient
from dxlclient.client_config import DxlClientConfig as DxlClientConfig
from dxlclient.exceptions import DxlException as DxlException
from dxlclient.message import Event as Event

def __getattr__(name: str) -> object: ...
