"""Generate mesoslite/v1 from protos/mesoslite/v1, or check that it is what comes out.

    python protos/generate.py            write mesoslite/v1
    python protos/generate.py --check    exit 1, naming the files, when it differs

The generator is pinned exactly in pyproject.toml, so equal sources give equal bytes everywhere.
"""

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos"
PACKAGE = Path("mesoslite/v1")
INIT = '"""Generated from protos/mesoslite/v1 by `make protos`: never edited by hand."""\n'


def generate(target: Path) -> dict[str, bytes]:
    """Everything of mesoslite/v1 by file name, as generated under the directory `target`."""
    protos = sorted(SOURCES.glob(f"{PACKAGE}/*.proto"))
    if not protos:
        sys.exit(f"no .proto files in {SOURCES / PACKAGE}")
    arguments = [
        "protoc",
        f"-I{SOURCES}",
        f"-I{resources.files('grpc_tools') / '_proto'}",  # google/protobuf/*.proto
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        *(str(proto) for proto in protos),
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    files = {"__init__.py": INIT.encode()}
    for path in sorted((target / PACKAGE).iterdir()):
        # A file without a service has an empty gRPC half: a module that says nothing.
        if path.name.endswith("_grpc.py") and b"class " not in path.read_bytes():
            continue
        files[path.name] = path.read_bytes()
    return files


def committed() -> dict[str, bytes]:
    folder = ROOT / PACKAGE
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.py*")) if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate mesoslite/v1 from protos/.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 on a difference"
    )
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="protos-") as directory:
        wanted = generate(Path(directory))
    present = committed()
    stale = sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )
    if check:
        if stale:
            sys.exit(f"mesoslite/v1 differs from protos/ in {', '.join(stale)}: run make protos")
        return
    (ROOT / PACKAGE).mkdir(parents=True, exist_ok=True)
    for name in stale:
        path = ROOT / PACKAGE / name
        if name in wanted:
            path.write_bytes(wanted[name])
        else:
            path.unlink()
    print(f"mesoslite/v1: {len(wanted)} files, {len(stale)} changed")


if __name__ == "__main__":
    main()
