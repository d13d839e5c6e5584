"""The meanings of ePO's words and codes, from ``docs/epo/actions.csv`` and ``categories.csv``."""

from typing import Literal, TypeAlias, TypeVar

T = TypeVar("T")

Outcome: TypeAlias = Literal[
    "blocked",
    "deleted",
    "cleaned",
    "quarantined",
    "contained",
    "allowed",
    "would_block",
    "failed",
    "detected_only",
    "pending",
    "none",
    "unknown",
]
Kind: TypeAlias = Literal[
    "access_protection",
    "agent",
    "application_control",
    "buffer_overflow",
    "dlp",
    "email",
    "firewall",
    "intrusion",
    "malware",
    "network_intrusion",
    "other",
    "scan",
    "unwanted_program",
    "update",
    "web",
]

_ACTIONS: dict[Outcome, str] = {
    "blocked": """
        access denied, adaptive threat protection blocked, block, blocked, denied, deny, deny access, deny
        create, deny terminate, deny write, execute denied, execute.deny, ids_alert_act_tak_blo,
        ids_alert_act_tak_den, ids_threat_action_block, jticlient.blocked, read denied, read.denied, write
        denied, write.denied
    """,
    "deleted": """
        delete, deleted, ids_alert_act_tak_del, removed
    """,
    "cleaned": """
        adaptive threat protection cleaned, cleaned, ids_alert_act_tak_cle, jticlient.repaired, repaired
    """,
    "quarantined": """
        ids_alert_act_tak_mov, move, moved, quarantined
    """,
    "contained": """
        adaptive threat protection contained, contained, ids_action_contained, jticlient.contain
    """,
    "allowed": """
        adaptive threat protection allowed, adaptive threat protection released from containment, adaptive
        threat protection would allow, adaptive threat protection would release from containment, allow, allow
        access, allowed, ids_action_uncontained, ids_alert_act_tak_allow, ids_threat_action_allow,
        jticlient.allowed, jticlient.uncontain, jticlient.would.allowed, jticlient.would.uncontain, permitted,
        released from containment
    """,
    "would_block": """
        adaptive threat protection would block, adaptive threat protection would clean, adaptive threat
        protection would contain, client.would.blocked, execute.woulddeny, ids_action_would_block,
        ids_action_would_clean, ids_action_would_delete, jticlient.would.blocked, jticlient.would.clean,
        jticlient.would.contain, jticlient.would.repaired, would block, would clean, would delete, would deny
        create, would deny execute, would deny executing, would deny read, would deny terminate, would deny
        write
    """,
    "detected_only": """
        continue scanning, ids_alert_act_tak_cont, ids_threat_action_warn, ids_threat_actn_obsrvd, observed,
        warned
    """,
    "pending": """
        delete pending, ids_alert_act_tak_wbd
    """,
    "none": """
        added requester, ids_action_added_req, ids_action_rem_req, none, removed requester
    """,
    "unknown": """
        ids_alert_act_tak_pro, prompt user
    """,
}

_KINDS: dict[Kind, str] = {
    "access_protection": """
        'file' class or access, 'process' class or access, 'registry' class or access, access protection,
        hip.file, hip.process, hip.registry, ids_threat_type_value_ap, ids_threat_type_value_sp, self
        protection, tiem.accessprotection.info
    """,
    "agent": """
        analyzer execution, client interface lockout, install, ops.clilock, ops.install, ops.service,
        ops.service.cancel, ops.service.end, ops.service.error, ops.service.start, ops.task, ops.task.cancel,
        ops.task.deferred, ops.task.end, ops.task.error, ops.task.start, ops.uninstall, policy, service,
        service canceled, service ended, service failed, service started, task, task canceled, task deferred,
        task ended, task failed, task started, uninstall
    """,
    "application_control": """
        application block, application monitoring, dynamic application containment, hip.app, hip.app.block,
        ids_threat_type_value_dacap, ops.scor
    """,
    "buffer_overflow": """
        exploit prevention, hip.bo, host intrusion buffer overflow, ids_threat_type_value_bop
    """,
    "email": """
        email, email filtered, email phishing detected, email spam, encrypted, mail, mail.filter, mail.phish,
        mail.spam
    """,
    "firewall": """
        firewall, firewall application hook, firewall detected, fw, fw.app.hook, fw.detect, fw.intrusion,
        ids_fw_threat_type_detection, ids_fw_threat_type_intrusion, ids_fw_threat_type_traffic, intrusion
        detected, ops.fw.detect, ops.fw.timedgroup, ops.fw.traffic, timed groups, traffic allowed, traffic
        detected
    """,
    "intrusion": """
        behavior.credtheft, credential theft mitigated, hip, hip.behavior.detect, host intrusion, ioc.match,
        processevent, suspicious behavior detected
    """,
    "malware": """
        av, av.detect, av.detect.heuristics, av.prompttimeout, av.promptunavailable, av.promptuser,
        av.reputation, ids_alert_det_typ_ste, malware, malware detected, malware detected using heuristics,
        prompt - timed out, prompt - unavailable, prompt - user response, reputation, stealth, test, trojan,
        virus
    """,
    "network_intrusion": """
        hip.nips, ids_threat_type_value_nips, network intrusion, network intrusion detected, network intrusion
        prevention system, nip, nip.detect
    """,
    "other": """
        ids_alert_det_typ_not, informational event, none, not specified, operational, ops,
        ops.informational.event, ops.quar.restore, policy quarantine, policy.quarantine, quarantined item
        restored
    """,
    "scan": """
        ops.scan, ops.scan.cancel, ops.scan.end, ops.scan.error, ops.scan.start, scan, scan canceled, scan
        ended, scan failed, scan started
    """,
    "unwanted_program": """
        app_adware, app_pua, app_puo, app_puocookie, av.pup, joke
    """,
    "update": """
        mvedr.update.update, ops.update, ops.update.cancel, ops.update.end, ops.update.error,
        ops.update.start, update, update canceled, update ended, update failed, update started
    """,
    "web": """
        hip.network.detect, ids_threat_type_dld, ids_threat_type_url, malicious file download, malicious site
        navigation, malicious url, wp.detect.download, wp.detect.url
    """,
}


def _by_word(words: dict[T, str]) -> dict[str, T]:
    return {" ".join(word.split()): said for said, text in words.items() for word in text.split(",")}


ACTIONS = _by_word(_ACTIONS)
"""The outcome of the threat, by the word or code of the action, in lower case."""

KINDS = _by_word(_KINDS)
"""The kind of an event, by the word or code of its category or threat type, in lower case."""
