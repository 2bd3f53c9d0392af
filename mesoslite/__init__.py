"""Two-level cluster scheduling as a library: what the author of a framework needs, and no more.

    from mesoslite import Resources, Scheduler, Task, run, take_fitting

Subclass `Scheduler`, answer offers with `launch`, listen to `status_update`, and hand it to `run`.
`mesoslite.testing` tests it without a cluster. Importing this is light: a name is loaded when it
is first asked for, and gRPC by `run`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mesoslite.version import VERSION

if TYPE_CHECKING:
    from mesoslite.attributes import Attribute, InvalidAttributes
    from mesoslite.lifecycle import TaskState
    from mesoslite.model import (
        Entry,
        Launch,
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
    from mesoslite.operations import OperationReference, OperationStatus
    from mesoslite.reservations import (
        CreateVolume,
        DestroyVolume,
        OperationState,
        Reservation,
        Reserve,
        Unreserve,
        Volume,
        VolumeMount,
    )
    from mesoslite.resources import InvalidResources, Resources, Shortfall
    from mesoslite.scheduler.running import FrameworkError, run, run_async
    from mesoslite.scheduler.scheduler import Scheduler, take_fitting
    from mesoslite.scheduler.store import (
        Store,
        StoreCall,
        StoreClosed,
        StoreConflict,
        StoreError,
        StoreFull,
    )
    from mesoslite.where import InvalidWhere

__version__ = VERSION

__all__ = [
    "Attribute",
    "CreateVolume",
    "DestroyVolume",
    "Entry",
    "FrameworkError",
    "InvalidAttributes",
    "InvalidResources",
    "InvalidWhere",
    "Launch",
    "Offer",
    "OperationReference",
    "OperationState",
    "OperationStatus",
    "Policy",
    "Reason",
    "Refusal",
    "Request",
    "Reservation",
    "Reserve",
    "Resources",
    "Scheduler",
    "Shortfall",
    "Source",
    "Store",
    "StoreCall",
    "StoreClosed",
    "StoreConflict",
    "StoreError",
    "StoreFull",
    "Task",
    "TaskReference",
    "TaskState",
    "TaskStatus",
    "Unreserve",
    "Uri",
    "Volume",
    "VolumeMount",
    "__version__",
    "run",
    "run_async",
    "take_fitting",
]

_WHERE = {
    "mesoslite.attributes": (
        "Attribute",
        "InvalidAttributes",
    ),
    "mesoslite.lifecycle": ("TaskState",),
    "mesoslite.model": (
        "Entry",
        "Launch",
        "Offer",
        "Policy",
        "Reason",
        "Refusal",
        "Request",
        "Source",
        "Task",
        "TaskReference",
        "TaskStatus",
        "Uri",
    ),
    "mesoslite.operations": (
        "OperationReference",
        "OperationStatus",
    ),
    "mesoslite.reservations": (
        "CreateVolume",
        "DestroyVolume",
        "OperationState",
        "Reservation",
        "Reserve",
        "Unreserve",
        "Volume",
        "VolumeMount",
    ),
    "mesoslite.resources": (
        "InvalidResources",
        "Resources",
        "Shortfall",
    ),
    "mesoslite.scheduler.running": (
        "FrameworkError",
        "run",
        "run_async",
    ),
    "mesoslite.scheduler.scheduler": (
        "Scheduler",
        "take_fitting",
    ),
    "mesoslite.scheduler.store": (
        "Store",
        "StoreCall",
        "StoreClosed",
        "StoreConflict",
        "StoreError",
        "StoreFull",
    ),
    "mesoslite.where": ("InvalidWhere",),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take it for a promise that every name is there

    def __getattr__(name: str) -> object:
        """The public name, from the module that has it (PEP 562). A daemon, which imports modules,
        never loads the scheduler's side."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
