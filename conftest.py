"""What pytest leaves alone where the install is smaller."""

import signal
from importlib.util import find_spec

# Who is started in the background by a script may have Ctrl-C ignored, and hands that on to the
# processes that tests stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Doctests import the module they stand in, and these modules import torch at their top.
collect_ignore = [] if find_spec("torch") else ["geodecloud/learn", "tests/learn"]


def pytest_report_header() -> list[str]:
    """Say what is left out, so that a shorter run is not taken for a whole one."""
    return [f"without the extra [learn]: {path} left out" for path in collect_ignore]
