"""The program `mesoslite-master`."""

from mesoslite.quick_start import quickly


def main() -> None:
    """The console script."""
    quickly("mesoslite.master.daemon")


if __name__ == "__main__":
    main()
