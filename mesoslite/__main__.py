"""`python -m mesoslite`: the command, for programs that know their Python and no PATH."""

from mesoslite.cli.entry import main

if __name__ == "__main__":
    main()
