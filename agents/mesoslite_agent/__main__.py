"""The program `mesoslite-agent`."""

from mesoslite.quick_start import quickly


def main() -> None:
    """The console script."""
    quickly("mesoslite_agent.daemon")


if __name__ == "__main__":
    main()
