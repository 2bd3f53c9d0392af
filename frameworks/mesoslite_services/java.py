"""What every service on Java begins with: is there a Java that will do, and what to say if not."""

from __future__ import annotations

from collections.abc import Mapping

#: Exit codes of a task whose host lacks something: none that Java itself ends with.
NO_JAVA, OLD_JAVA = 72, 73

INSTALL = "install Java {major} or newer there; on Debian or Ubuntu: apt-get install {package}"


def prologue(major: int) -> str:
    """The first lines of a task's shell script: it ends with one of the codes above, and a line on
    stderr, when this host has no Java of that version or a newer one. Takes ~0.3 s."""
    return f"""\
set -eu
command -v java >/dev/null || {{ echo "there is no java on this host" >&2; exit {NO_JAVA}; }}
major=$(java -version 2>&1 | sed -n 's/.* version "\\([0-9]*\\).*/\\1/p' | head -n 1)
if [ "${{major:-0}}" -lt {major} ]; then
    echo "java on this host is version ${{major:-unknown}}" >&2
    exit {OLD_JAVA}
fi
"""


def what_to_install(major: int) -> Mapping[int, str]:
    """What to tell people about those exit codes."""
    install = INSTALL.format(major=major, package=f"openjdk-{major}-jre-headless")
    return {
        NO_JAVA: f"there is no Java on its host: {install}",
        OLD_JAVA: f"the Java on its host is too old: {install}",
    }
