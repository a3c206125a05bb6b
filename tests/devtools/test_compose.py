"""docker-compose.yml, Dockerfile and .dockerignore, read as text: there may be no engine to run them.

`make check` validates docker-compose.yml against the schema of compose files; these tests check the rest.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVICES: dict[str, Any] = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
DOCKERFILE = Path("Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_bound_to_this_machine(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", ["postgres", "rabbitmq"])
def test_the_services_are_pinned_healthy_and_keep_their_data(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":\d+\.\d+", service["image"])
    assert service["healthcheck"]["test"]
    assert any(volume.startswith(f"{name}:") for volume in service["volumes"])
    assert "profiles" not in service


@pytest.mark.parametrize("name", ["migrate", "server", "bot"])
def test_our_own_processes_run_only_when_asked_for(name: str) -> None:
    assert SERVICES[name]["profiles"] == ["app"]
    assert SERVICES[name]["image"] == "chat-server"


def test_the_image_is_slim_pinned_and_not_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases and all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert len(set(bases)) == 1
    assert re.search(r"^USER (?!root|0)", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE


def test_the_build_context_is_what_the_dockerfile_copies() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {word for line in copies for word in line.split()}
    allowed = set(re.findall(r"^!(.+)$", Path(".dockerignore").read_text(), re.MULTILINE))
    assert copied == allowed
    assert all(Path(each).exists() for each in copied)


def test_the_build_context_has_all_that_the_package_is_made_of() -> None:
    setup = Path("setup.cfg").read_text()
    folders = set(re.findall(r"^ +chat\.\w+ = (\w+)$", setup, re.MULTILINE)) | {"chat"}
    files = set(re.findall(r"^(?:long_description = file: |license_files = )(\S+)$", setup, re.MULTILINE))
    assert folders == {"chat", "migrations", "sql"} and files == {"README.md", "LICENSE"}
    allowed = set(re.findall(r"^!(.+)$", Path(".dockerignore").read_text(), re.MULTILINE))
    assert folders | files | {"setup.cfg", "pyproject.toml"} <= allowed
    assert "devtools" not in allowed
