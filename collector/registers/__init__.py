"""The registers (登记册): tokens and enrolment codes, and the digests of their changes."""

from __future__ import annotations

from collector.registers.registers import Registers
from collector.registers.revisions import Revision
from collector.registers.tokens import Token

__all__ = ["Registers", "Revision", "Token"]
