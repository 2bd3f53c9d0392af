"""What this agent says to changes of reservations and volumes."""

from __future__ import annotations

from mesoslite.messages import AcknowledgeOperation, ApplyOperation, OperationReport
from mesoslite.model import Refusal
from mesoslite.operations import OperationStatus
from mesoslite.reservations import OperationState
from mesoslite_agent.ledger import Ledger
from mesoslite_agent.protocol import ToMaster


def asked(ledger: Ledger, agent_id: str, word: ApplyOperation | AcknowledgeOperation) -> None:
    """This agent keeps neither reservations nor volumes, and says so."""
    if isinstance(word, AcknowledgeOperation):
        return
    status = OperationStatus(
        word.order.change.operation_id,
        OperationState.ERROR,
        agent_id,
        word.order.framework_id,
        Refusal.INVALID_OPERATION,
        "this agent keeps no reservations",
        ledger.now_ms,
        acknowledge=True,
    )
    ledger.emit(ToMaster(OperationReport(status)))
