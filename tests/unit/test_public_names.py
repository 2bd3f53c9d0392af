"""`import mesoslite` gives every public name, and loads nothing that is not asked for."""

import subprocess
import sys

import pytest

import mesoslite


def test_every_public_name_is_there_and_none_besides() -> None:
    lazy = set(mesoslite._MODULE_OF)
    assert lazy | {"__version__"} == set(mesoslite.__all__)
    assert all(getattr(mesoslite, name) is not None for name in mesoslite.__all__)
    assert set(mesoslite.__all__) <= set(dir(mesoslite))
    with pytest.raises(AttributeError, match="has no attribute 'Schedular'"):
        _ = mesoslite.Schedular  # type: ignore[attr-defined]


def test_a_daemon_starts_without_what_it_does_not_need_at_once() -> None:
    program = (
        "import sys, mesoslite_agent.daemon; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'uvicorn', 'starlette', 'prometheus_client', 'psutil', 'tarfile'}), "
        "'mesoslite.scheduler.scheduler' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
