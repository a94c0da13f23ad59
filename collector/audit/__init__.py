"""The audit (审计): everything a collector keeps, checked again from its log and its objects alone.

Reads only, needs no lease and no secret key, and may run beside a running collector: it judges the log as it was
when it began. Nothing the catalogue says is believed.
"""

from __future__ import annotations

from collector.audit.engine import Audited, Scope, audit
from collector.audit.objects import AuditedObjects, DirectoryObjects
from collector.audit.report import AuditReport, Remark, Section

__all__ = [
    "AuditReport",
    "Audited",
    "AuditedObjects",
    "DirectoryObjects",
    "Remark",
    "Scope",
    "Section",
    "audit",
]
