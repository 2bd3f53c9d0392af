"""Generated from protos/mesoslite/v1 by `make protos`: never edited by hand."""
