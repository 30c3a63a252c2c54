"""Runs promtool: checks and tests rule files, and tells what rules record for given raw series.

promtool knows no way to ask for values, only to compare them. :func:`evaluate` therefore expects a sample that
cannot be and reads the real ones from promtool's complaint: tests then compare numbers rather than exit codes.
promtool evaluates every group once per ``evaluation_interval``, whatever the group's own interval.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from alert_rules import manifest
from sloctl.demo.programs import find_program
from sloctl.model import AlertPolicy, Matcher, Mesh, RollingWindow, Slo, SloSet, Window
from sloctl.model.durations import duration
from sloctl.model.policies import POLICIES
from sloctl.promql import selector
from sloctl.promql.presets import PRESETS, Params
from tests.support.yaml_text import read_yaml

Samples = list[tuple[dict[str, str], float]]
"""Labels (with ``__name__`` where there is one) and value of every series of an answer."""

EVERY_LIMIT = os.environ.get("SLOCTL_PROOFS") == "all"
"""Whether guardrails prove themselves at every limit of the tests (make proofs), or at one beside the golden cases."""
_PROBE = "sloctl_test_probe"
_LABEL = r'[a-zA-Z_]\w*="(?:\\.|[^"\\])*"'
_SAMPLE = re.compile(rf"\{{((?:{_LABEL}(?:, )?)*)\}} (\S+?)(?:, |$)")
_FAILURE = re.compile(
    rf'^ +exp: \{{__name__="{_PROBE}", a="(\d+)", b="(\d+)"\}} 0E\+00$\n^ +got: ?(.*)$', re.MULTILINE
)


@dataclass(frozen=True)
class Inputs:
    """Raw series in promtool's notation, and instant queries to answer after the rules ran.

    ``series`` maps a series to its samples, one every ``interval`` from time 0: numbers, ``_`` (no sample) and
    ``stale``. ``queries`` are (PromQL, time such as ``10m``).
    """

    series: Mapping[str, str]
    queries: Sequence[tuple[str, str]]
    interval: str = "1m"
    name: str = field(default="")


def series(metric: str, **labels: str) -> str:
    """``metric{label="value",…}``."""
    return selector(metric, [Matcher(name, "=", value) for name, value in sorted(labels.items())])


def days(count: int) -> RollingWindow:
    """A rolling window of some days."""
    return RollingWindow(count * 86400, duration(count * 86400))


def slo(
    preset: str = "availability",
    params: Params | None = None,
    *,
    service: str = "checkout",
    namespace: str = "shop",
    name: str = "",
    objective: str = "99.9",
    window: Window | None = None,
    policy: AlertPolicy | None = POLICIES["mesh"],
    mesh: Mesh | None = None,
    overridden: tuple[str, ...] = (),
) -> Slo:
    """An SLO of a preset, as the loader would build it."""
    return Slo(
        set_name="shop",
        name=name or preset,
        service=service,
        namespace=namespace,
        objective=Decimal(objective),
        window=window or days(30),
        sli=PRESETS[preset].build(params or {}, mesh or Mesh()),
        policy=policy,
        overridden=overridden,
    )


def rule_texts(*slos: Slo, mesh: Mesh | None = None) -> list[str]:
    """The plain rule files of some SLOs."""
    return loaded_rules(SloSet("shop", slos, mesh=mesh or Mesh()))


def loaded_rules(slo_set: SloSet) -> list[str]:
    """The rule files that Prometheus loads: no copies of them, which promtool would evaluate once more."""
    return [manifest.prometheus(file) for file in manifest.rule_files(slo_set)]


def of_group(texts: Iterable[str], kind: str) -> list[str]:
    """The rule files with no more than their groups of a kind, such as ``tiles``: promtool evaluates them all."""
    found = []
    for text in texts:
        groups = [group for group in read_yaml(text)["groups"] if group["name"].endswith(f":{kind}")]
        assert groups, f"no group is one of {kind}"
        found.append(json.dumps({"groups": groups}))
    return found


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool; the caller judges the result."""
    return subprocess.run(
        [find_program("promtool"), *arguments],
        # A third of its time is its garbage collector's, at Go's own pace; 200 MB buy that back.
        env={**os.environ, "GOGC": "800"},
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=300,
    )


def evaluate(
    rule_texts: Iterable[str], inputs: Sequence[Inputs], *, evaluation_interval: str = "1m"
) -> list[list[Samples]]:
    """For each of ``inputs`` (a TSDB of its own) and each of its queries: the series that promtool finds.

    Raises AssertionError with promtool's output if it could not evaluate something.
    """
    with tempfile.TemporaryDirectory(prefix="sloctl-promtool-") as folder:
        root = Path(folder)
        names, groups = [], []
        for number, text in enumerate(rule_texts):
            (root / f"rules-{number}.yaml").write_text(text, encoding="utf-8")
            names.append(f"rules-{number}.yaml")
            groups += re.findall(r"^ +- name: \"?([^\n\"]+)\"?$", text, re.MULTILINE)
        document = {
            "rule_files": names,
            "evaluation_interval": evaluation_interval,
            "group_eval_order": groups,
            "tests": [_test(number, item) for number, item in enumerate(inputs)],
        }
        (root / "test.yaml").write_text(json.dumps(document), encoding="utf-8")
        done = run("test", "rules", "test.yaml", cwd=root)
    output = done.stdout + done.stderr
    found = {(int(m[1]), int(m[2])): m[3] for m in _FAILURE.finditer(output)}
    wanted = [(t, q) for t, item in enumerate(inputs) for q in range(len(item.queries))]
    assert sorted(found) == wanted, f"promtool did not answer:\n{output}"
    return [[_samples(found[t, q]) for q in range(len(item.queries))] for t, item in enumerate(inputs)]


def _test(number: int, inputs: Inputs) -> dict[str, object]:
    probes = [
        {
            "expr": expr,
            "eval_time": time,
            "exp_samples": [{"labels": series(_PROBE, a=str(number), b=str(index)), "value": 0}],
        }
        for index, (expr, time) in enumerate(inputs.queries)
    ]
    return {
        "name": inputs.name,
        "interval": inputs.interval,
        "input_series": [{"series": name, "values": values} for name, values in inputs.series.items()],
        "promql_expr_test": probes,
    }


def _samples(text: str) -> Samples:
    if text in ("", "nil"):
        return []
    out: Samples = []
    end = 0
    for match in _SAMPLE.finditer(text):
        assert match.start() == end, f"cannot read promtool's answer: {text!r}"
        end = match.end()
        pairs = re.findall(r'([a-zA-Z_]\w*)=("(?:\\.|[^"\\])*")', match[1])
        out.append(({name: json.loads(value) for name, value in pairs}, float(match[2])))
    assert end == len(text), f"cannot read promtool's answer: {text!r}"
    return out
