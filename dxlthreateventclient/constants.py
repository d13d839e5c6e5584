"""The names of the keys in a threat event, with one class for each object."""

# To add a key to the message, define a constant in constants.py, annotate the key in threat_event.py, and
# describe it in docs/threatevent.rst. If ePO sends a key in every event, add it to sample_threat_event() in
# testing/events.py. If a SIEM needs a key, add its conversion to formats/ and describe the key in
# docs/formatsecs.rst, docs/formatscef.rst and docs/formatsocsf.rst. Tests compare the keys in the code with
# the tables in docs/.


class ThreatEventProps:
    """The top-level object of a threat event."""

    EVENT_MESSAGE_TYPE = "eventMessageType"
    EVENT_MESSAGE_VERSION = "eventMessageVersion"
    EVENT = "event"
    RECEIVED_UTC = "_receivedUTC"


class EventProps:
    """The ``event`` object."""

    CATEGORY = "category"
    EVENT_DESCRIPTION = "eventDesc"
    EVENT_ID = "id"
    THREAT_ACTION_TAKEN = "threatActionTaken"
    THREAT_HANDLED = "threatHandled"
    THREAT_NAME = "threatName"
    THREAT_SEVERITY = "threatSeverity"
    THREAT_TYPE = "threatType"
    URI = "uri"
    ANALYZER = "analyzer"
    ENTITY = "entity"
    FILES = "files"
    OTHER_DATA = "otherData"
    SOURCE = "source"
    TARGET = "target"
    RECEIVED_UTC = "_receivedUTC"


class AnalyzerProps:
    """The ``event.analyzer`` object: the product that detected the threat."""

    CONTENT_VERSION = "contentVersion"
    DETECTION_METHOD = "detectionMethod"
    DETECTED_UTC = "detectedUTC"
    ENGINE_VERSION = "engineVersion"
    HOST_NAME = "hostName"
    ID = "id"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    MAC = "mac"
    NAME = "name"
    VERSION = "version"


class EntityProps:
    """The ``event.entity`` object: the managed device or user."""

    GROUP_NAME = "groupName"
    ID = "id"
    NODE_TEXT_PATH = "_nodeTextPath"
    OS_PLATFORM = "osPlatform"
    OS_TYPE = "osType"
    RULE_NAME = "ruleName"
    SESSION_ID = "sessionId"
    TYPE = "type"


class FilesProps:
    """An object in the ``event.files`` array."""

    NAME = "name"
    HASH = "hash"


class HashProps:
    """A file's ``hash`` object."""

    MD5 = "MD5"
    SHA1 = "SHA-1"
    SHA256 = "SHA-256"


class SourceProps:
    """The ``event.source`` object: the origin of the threat."""

    HOST_NAME = "hostName"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    MAC = "mac"
    PORT = "port"
    PROCESS_NAME = "processName"
    URL = "url"
    USER_NAME = "userName"


class TargetProps:
    """The ``event.target`` object: the host, user, process and file that the threat affects."""

    FILE_NAME = "fileName"
    HOST_NAME = "hostName"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    MAC = "mac"
    PORT = "port"
    PROCESS_NAME = "processName"
    PROTOCOL = "protocol"
    USER_NAME = "userName"


class OtherDataProps:
    """The keys present in every ``event.otherData`` object."""

    COUNT = "count"
    DEFINED_AT = "definedAt"
    RESPONSE_EVENT_TYPE = "responseEventType"
    RESPONSE_RULE_NAME = "responseRuleName"
    THREAT_SEVERITY_STRING = "threatSeverityString"
