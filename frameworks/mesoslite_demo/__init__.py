"""The demonstration framework: `mesoslite demo` runs it; `scheduler.py` is there to be read."""
