"""What every service on Java begins with: is there a Java that will do, and what to say if not."""

from __future__ import annotations

from collections.abc import Mapping

#: Exit codes of a task whose host lacks something: none that Java itself ends with.
NO_JAVA, OTHER_JAVA = 72, 73

NEWEST = 99  # what is not known to be too new


def prologue(oldest: int, newest: int = NEWEST) -> str:
    """The first lines of a task's shell script: it ends with one of the codes above, and a line on
    stderr, when this host has no Java of these versions. Takes ~0.3 s."""
    return f"""\
set -eu
command -v java >/dev/null || {{ echo "there is no java on this host" >&2; exit {NO_JAVA}; }}
major=$(java -version 2>&1 | sed -n 's/.* version "\\([0-9]*\\).*/\\1/p' | head -n 1)
if [ "${{major:-0}}" -lt {oldest} ] || [ "$major" -gt {newest} ]; then
    echo "java on this host is version ${{major:-unknown}}" >&2
    exit {OTHER_JAVA}
fi
"""


def what_to_install(oldest: int, newest: int = NEWEST) -> Mapping[int, str]:
    """What to tell people about those exit codes."""
    versions = f"Java {oldest}" if newest == oldest else f"Java {oldest} or newer"
    package = f"openjdk-{oldest}-jre-headless"
    install = f"install {versions} there; on Debian or Ubuntu: apt-get install {package}"
    return {
        NO_JAVA: f"there is no Java on its host: {install}",
        OTHER_JAVA: f"the Java on its host is of another version: {install}",
    }
