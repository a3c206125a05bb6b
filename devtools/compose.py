"""docker compose for one checkout: the services of docker-compose.yml, where an engine answers."""

import os
import shutil
import subprocess
from pathlib import Path


class Compose:
    """Remembers in `state` which services it started; only those are ever stopped."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.log = state / "compose.log"
        self._started = state / "compose"

    @property
    def started(self) -> list[str]:
        return self._started.read_text().split() if self._started.exists() else []

    def answers(self) -> bool:
        """Whether there is an engine, and not only a client."""
        if shutil.which("docker") is None:
            return False
        try:
            asked = subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def up(self, service: str, port: int) -> bool:
        """Start a service on this port and wait until it is healthy; False if it did not become so."""
        if not self._run("up", "--detach", "--wait", service, **{port_setting(service): str(port)}):
            return False
        if service not in self.started:
            with self._started.open("a") as file:
                file.write(f"{service}\n")
        return True

    def stop(self) -> bool:
        """Stop what was started; containers and volumes stay."""
        return self._run("stop", *self.started)

    def _run(self, *words: str, **environ: str) -> bool:
        with self.log.open("a") as log:
            done = subprocess.run(
                ["docker", "compose", *words],
                cwd=self.folder,
                env=os.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode == 0


def port_setting(service: str) -> str:
    """The variable in docker-compose.yml for a service's port on this machine."""
    return f"{service.upper()}_PORT"
