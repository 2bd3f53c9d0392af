"""Starts a program and waits for its end, again and again; prints how often.

python -I -S bare.py BEGIN END PROGRAM      times of the monotonic clock, in seconds
"""

import os
import sys
import time


def main() -> None:
    """Do it."""
    begin_s, end_s, program = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    time.sleep(max(0.0, begin_s - time.monotonic()))
    spawned = 0
    while time.monotonic() < end_s:
        _, status = os.waitpid(os.posix_spawn(program, [program], {}), 0)
        if status:
            sys.exit(f"{program} failed")
        spawned += 1
    print(spawned)


if __name__ == "__main__":
    main()
