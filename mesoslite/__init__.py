"""Two-level cluster scheduling as a library: what the author of a framework needs, and no more.

    from mesoslite import Resources, Scheduler, Task, run, take_fitting

Subclass `Scheduler`, answer offers with `launch`, listen to `status_update`, and hand it to `run`.
`mesoslite.testing` tests it without a cluster. Importing this is light: gRPC is loaded by `run`.
"""

from mesoslite.attributes import Attribute, InvalidAttributes
from mesoslite.lifecycle import TaskState
from mesoslite.model import (
    Offer,
    Policy,
    Reason,
    Refusal,
    Request,
    Source,
    Task,
    TaskReference,
    TaskStatus,
    Uri,
)
from mesoslite.resources import InvalidResources, Resources, Shortfall
from mesoslite.scheduler.running import FrameworkError, run, run_async
from mesoslite.scheduler.scheduler import Scheduler, take_fitting
from mesoslite.version import VERSION
from mesoslite.where import InvalidWhere

__version__ = VERSION

__all__ = [
    "Attribute",
    "FrameworkError",
    "InvalidAttributes",
    "InvalidResources",
    "InvalidWhere",
    "Offer",
    "Policy",
    "Reason",
    "Refusal",
    "Request",
    "Resources",
    "Scheduler",
    "Shortfall",
    "Source",
    "Task",
    "TaskReference",
    "TaskState",
    "TaskStatus",
    "Uri",
    "__version__",
    "run",
    "run_async",
    "take_fitting",
]
