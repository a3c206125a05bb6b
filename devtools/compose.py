"""docker compose for one checkout: runs the services of docker-compose.yml if an engine is available."""

import os
import shutil
import subprocess
from pathlib import Path


class Compose:
    """The compose project in `folder`. Remembers in `state` which services it started; it stops no others."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.log = state / "compose.log"
        self._started = state / "compose"

    @property
    def started(self) -> list[str]:
        return self._started.read_text().split() if self._started.exists() else []

    def is_available(self) -> bool:
        """Whether an engine answers; an installed client alone is not enough."""
        if shutil.which("docker") is None:
            return False
        try:
            info = subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return info.returncode == 0

    def up(self, service: str, port: int) -> bool:
        """Start a service on this port and wait until it is healthy. Returns False if it does not become healthy."""
        if not self._run("up", "--detach", "--wait", service, **{port_setting(service): str(port)}):
            return False
        if service not in self.started:
            with self._started.open("a") as file:
                file.write(f"{service}\n")
        return True

    def stop(self) -> bool:
        """Stop the services that were started here. Their containers and volumes stay."""
        return self._run("stop", *self.started)

    def _run(self, *arguments: str, **environ: str) -> bool:
        with self.log.open("a") as log:
            result = subprocess.run(
                ["docker", "compose", *arguments],
                cwd=self.folder,
                env=os.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        return result.returncode == 0


def port_setting(service: str) -> str:
    """The variable in docker-compose.yml that sets a service's port on this machine."""
    return f"{service.upper()}_PORT"
