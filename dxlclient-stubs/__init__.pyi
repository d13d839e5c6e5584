from typing import Any

from dxlclient.broker import Broker as Broker
from dxlclient.callbacks import EventCallback as EventCallback
from dxlclient.callbacks import MessageCallback as MessageCallback
from dxlclient.callbacks import RequestCallback as RequestCallback
from dxlclient.callbacks import ResponseCallback as ResponseCallback
from dxlclient.client import DxlClient as DxlClient
from dxlclient.client_config import DxlClientConfig as DxlClientConfig
from dxlclient.exceptions import BrokerListError as BrokerListError
from dxlclient.exceptions import DxlException as DxlException
from dxlclient.exceptions import InvalidProxyConfigurationError as InvalidProxyConfigurationError
from dxlclient.exceptions import MalformedBrokerUriException as MalformedBrokerUriException
from dxlclient.exceptions import NoBrokerSpecifiedError as NoBrokerSpecifiedError
from dxlclient.exceptions import WaitTimeoutException as WaitTimeoutException
from dxlclient.message import ErrorResponse as ErrorResponse
from dxlclient.message import Event as Event
from dxlclient.message import Message as Message
from dxlclient.message import Request as Request
from dxlclient.message import Response as Response
from dxlclient.service import ServiceRegistrationInfo as ServiceRegistrationInfo

# Other packages use additional names from dxlclient. A name without a type hint is not an error.
def __getattr__(name: str) -> Any: ...
