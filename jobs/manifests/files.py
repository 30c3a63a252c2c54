"""The SLO file in the cluster: its exact text in a ConfigMap, and what tells pods that it has changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import object_metadata
from sloctl.errors import UsageError
from sloctl.model import SloSet
from sloctl.spec import Source

LARGEST = 1024 * 1024
"""Bytes that the values of a ConfigMap may have together."""
CHECKSUM = "checksum/slo-file"
"""The annotation of pods with the digest of the texts."""
STDIN = "slo.yaml"


def texts(sources: Sequence[Source]) -> dict[str, str]:
    """The files by the names that they get in the folder of the pod, which sorts them as they were given.

    Raises ``UsageError`` if they are too large for a ConfigMap.
    """
    size = sum(len(source.content) for source in sources)
    if size > LARGEST:
        raise UsageError(
            f"the SLO files have {size} bytes, and a Kubernetes ConfigMap holds {LARGEST}",
            hint="split the set: one ConfigMap for each name in 'metadata'",
        )
    if len(sources) == 1:
        return {_name(sources[0].name): sources[0].content.decode()}
    digits = max(2, len(str(len(sources))))
    return {
        f"{number:0{digits}}-{_name(source.name)}": source.content.decode()
        for number, source in enumerate(sources, 1)
    }


def _name(path: str) -> str:
    """A key of a ConfigMap that ends as SLO files do: the last part of the path, as far as a key may hold it."""
    last = path.replace("\\", "/").rpartition("/")[2]
    stem = re.sub(r"\.ya?ml$", "", last, flags=re.IGNORECASE)
    stem = re.sub(r"[^-._a-zA-Z0-9]+", "-", stem).strip("-.")
    return f"{stem[:100]}.yaml" if stem and not path.startswith("<") else STDIN


def config_map(slo_set: SloSet, sources: Sequence[Source]) -> yaml.YamlMapping:
    """The ConfigMap of the files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(slo_set, name(slo_set)),
        "data": texts(sources),
    }


def name(slo_set: SloSet) -> str:
    """The ConfigMap's name; no dashboard's is the same."""
    return naming.kubernetes_object(slo_set.name, "slo-file")


def checksum(sources: Sequence[Source]) -> str:
    """A digest of names and texts: a changed file changes the pods, so that they read it."""
    return naming.digest(*(part for pair in texts(sources).items() for part in pair))
