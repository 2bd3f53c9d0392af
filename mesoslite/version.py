"""The version of the distribution, in its one place: the build reads it from here."""

VERSION = "0.1.0"
