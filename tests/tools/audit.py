"""Ask for known vulnerabilities of what is installed: ``python -m tests.tools.audit``.

Beforehand ``pip install pip-audit``.

Exits with 0 if none is known or nobody could be asked, with 1 if some are. Continuous integration can run it anywhere.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence

UNREACHABLE = "The vulnerability database cannot be reached from here; nothing was audited."
MISSING = "pip-audit is not installed, so nothing was audited; install it with: pip install pip-audit."


def main(command: Sequence[str] | None = None) -> int:
    if command is None:
        if importlib.util.find_spec("pip_audit") is None:
            print(MISSING)
            return 0
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        listed = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        listed = []
    packages = [one for one in listed if "vulns" in one]
    if not packages:  # through a mirror that knows no vulnerabilities, every package is skipped
        print(UNREACHABLE)
        return 0
    found = [(one["name"], one["version"], bad) for one in packages for bad in one["vulns"]]
    for name, version, bad in found:
        fixed = ", ".join(bad.get("fix_versions", ())) or "no release yet"
        print(f"{name} {version}: {bad['id']}, fixed in {fixed}")
    skipped = len(listed) - len(packages)
    print(f"{len(packages)} packages audited, {skipped} not known there, {len(found)} known vulnerabilities.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
