"""What a pattern cannot say about a single text: addresses, templates, time zones, cron lines, labels.

Each check returns a ``Complaint`` or None. None of them quotes an address: it may hold a password.
"""

from __future__ import annotations

import re
import zoneinfo
from urllib.parse import SplitResult, parse_qsl, urlsplit

from sloctl import naming
from sloctl.model.cron import FIELDS, BadCron, parse
from sloctl.spec.fields.values import SECRET_WORDS, Complaint, closest
from sloctl.spec.yaml.wording import shown

PLACEHOLDERS = ("slo", "service", "namespace", "alert", "set")
_NO_ZONES = frozenset({"posix", "right", "posixrules", "localtime", "Factory"})


def no_template(text: str) -> Complaint | None:
    """Prometheus would evaluate ``{{ … }}`` in the labels and annotations of an alert."""
    if "{{" not in text:
        return None
    return Complaint(
        "template", "'{{' starts a Prometheus template, which is not allowed here", "write plain text"
    )


def webhook(text: str) -> Complaint | None:
    """The http(s) address of a webhook, without credentials, query or fragment."""
    return address(text, "remove them, and name a Secret with a bearer token: 'secret: name/key'")


def address(
    text: str,
    instead: str = "remove them and set SLOCTL_PROMETHEUS_TOKEN or SLOCTL_PROMETHEUS_TOKEN_FILE in the environment "
    "(of other servers: SLOCTL_TRACES_TOKEN, SLOCTL_ALERTMANAGER_TOKEN)",
) -> Complaint | None:
    """An http(s) address without credentials, query or fragment; ``instead`` is said of credentials."""
    complaint = _address(text, "write it like http://prometheus:9090", instead)
    if complaint is None and re.search(r"[?#]", text):
        return Complaint("bad-url", "an address here has no query ('?') and no fragment ('#')", "remove it")
    return complaint


def _address(text: str, hint: str, instead: str) -> Complaint | None:
    if re.search(r"\s", text):
        return Complaint("bad-url", "an address has no blanks", "write blanks as %20")
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return Complaint("bad-url", "this is not an address: its host or port is malformed", hint)
    if "@" in parts.netloc or _secret_in_query(parts):
        return Complaint(
            "inline-secret",
            "this address holds credentials, which do not belong in an SLO file",
            instead,
        )
    if parts.scheme.lower() not in ("http", "https"):
        return Complaint("bad-url", "an address starts with http:// or https://", hint)
    if not parts.hostname or not port_is_fine or not re.fullmatch(r"[A-Za-z0-9.:%_\[\]-]+", parts.netloc):
        return Complaint("bad-url", "this address has no usable host", hint)
    return None


def _secret_in_query(parts: SplitResult) -> bool:
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return False
    return any(SECRET_WORDS.fullmatch(name) for name, _ in pairs)


def link(text: str) -> Complaint | None:
    """An http(s) address with placeholders in braces, as runbooks and dashboards are written."""
    if (complaint := no_template(text)) is not None:
        return complaint
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{word}}}" for word in PLACEHOLDERS)
            close = closest(name, PLACEHOLDERS)
            hint = f"did you mean {{{close}}}?" if close else f"known placeholders: {known}"
            return Complaint("placeholder", f"unknown placeholder '{{{name[:40]}}}'", hint)
    filled = re.sub(r"\{[a-z]+\}", "x", text)
    if "{" in filled or "}" in filled:
        return Complaint(
            "placeholder", "a brace is not closed or not opened", "write placeholders like {slo}"
        )
    return _address(
        filled,
        "write it like https://runbooks.example.org/{slo}",
        "remove them: everyone who gets the alert would see them",
    )


def object_label(name: str) -> Complaint | None:
    """A label of Kubernetes objects that sloctl does not set itself."""
    if name in naming.OBJECT_LABELS:
        return Complaint("reserved-label", f"sloctl sets the label '{name}' itself", "choose another name")
    return None


def pod_label(name: str) -> Complaint | None:
    """A label of pods that nothing of ours selects by."""
    if name in (*naming.OBJECT_LABELS, *naming.SELECTOR_LABELS, naming.COMPONENT_LABEL):
        return Complaint("reserved-label", f"sloctl sets the label '{name}' itself", "choose another name")
    return None


def variable_name(name: str) -> Complaint | None:
    """An environment variable that holds no secret, and that sloctl's manifests do not set themselves."""
    if re.fullmatch(
        r".*(TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|HEADERS|WEBHOOK|LEDGER_URL).*", name
    ):
        hint = "keep it in a Kubernetes Secret; the other keys of 'kubernetes' say which ones pods read"
        return Complaint("inline-secret", f"'{name}' would hold a secret, or name one", hint)
    if name in ("HOME", "TMPDIR", "OTEL_EXPORTER_OTLP_ENDPOINT") or re.fullmatch(
        "SLOCTL_.*_FILE|SLOCTL_.*_USERNAME", name
    ):
        return Complaint(
            "kubernetes-parameter", f"'{name}' is set by other keys, or by sloctl itself", "remove it"
        )
    return None


def variable(text: str) -> Complaint | None:
    """A value without credentials, such as a proxy's address may have."""
    if re.search(r"://[^/\s]*@", text):
        message = "this address holds credentials, which do not belong in an SLO file"
        return Complaint("inline-secret", message, "use a proxy or server that needs none here")
    return None


_TELLS_NOBODY = re.compile(
    "accept(-.*)?|authorization|baggage|cache-control|connection|content-.*|cookie|dnt|expect|forwarded|host|if-.*|"
    "keep-alive|origin|pragma|priority|proxy-.*|range|referer|sec-.*|te|traceparent|tracestate|transfer-encoding|"
    "upgrade(-.*)?|user-agent|via|x-b3-.*|x-envoy-.*|x-real-ip|x-request(ed)?-.*|"
    "x-forwarded-(by|for|host|path|port|prefix|proto|scheme|server|uri)",
    re.IGNORECASE,
)
"""Headers that requests have whoever asks: of clients, and of proxies that log nobody in."""


def proxy_header(name: str) -> Complaint | None:
    """The header in which a proxy says who it has logged in."""
    hint = "name the one in which the proxy says which user it has logged in, such as X-Forwarded-User"
    if not re.fullmatch(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,100}", name):
        return Complaint("bad-value", f"{shown(name)} is no name of a header", hint)
    if _TELLS_NOBODY.fullmatch(name):
        return Complaint("kubernetes-parameter", f"requests have the header '{name}' whoever asks", hint)
    return None


def folder(text: str) -> Complaint | None:
    """A folder that Grafana can make, also where its sidecar makes a folder on a disk of it."""
    if text.casefold() == "general":
        return Complaint(
            "bad-value",
            "'General' is what Grafana calls the place outside of all folders",
            "choose another name",
        )
    if len(text.encode()) > 255:
        return Complaint("bad-value", "the folder's name has more than 255 bytes", "shorten it")
    return None


def timezone(text: str) -> Complaint | None:
    """A name of the IANA time zone database."""
    try:
        if text.split("/")[0] in _NO_ZONES:
            raise KeyError(text)
        zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        close = closest(text, zoneinfo.available_timezones())
        hint = f"did you mean '{close}'?" if close else "write an IANA name such as Europe/Paris, or UTC"
        return Complaint("unknown-timezone", f"no time zone is called '{text[:60]}'", hint)
    return None


def label_name(text: str) -> Complaint | None:
    """A label that sloctl does not set itself."""
    if text not in naming.RESERVED_LABELS:
        return None
    hint = "use the key of the same name" if text == "owner" else "choose another name"
    return Complaint("reserved-label", f"the label '{text}' is set by sloctl itself", hint)


def matcher_name(text: str) -> Complaint | None:
    """A label that is on every series of a target, ``up`` included."""
    known = re.fullmatch(
        r"(source|destination)_.*|reporter|response_.*|request_protocol|grpc_response_status|"
        r"connection_security_policy|le|__name__",
        text,
    )
    if known is None:
        return None
    return Complaint(
        "matcher-label",
        f"'{text}' cannot be a mesh matcher: the matchers go to every selector, also to 'up', which lacks it",
        "use labels that all series of a target have, such as cluster",
    )


_CRON_LINE = {
    "both days": (
        "a day of the month together with a day of the week means either of them to cron, both to others",
        "use one of the two, and '*' for the other",
    ),
    "no date": ("no such date exists, so the job would never run", "change the day or month"),
}
_CRON_FIELD = {
    "form": "not a number, range, list or step",
    "word": "unknown name",
    "step": "a step goes with '*' or a range (a-b/n)",
    "zero": "a step of 0",
    "range": "out of range",
    "sunday": "out of range (Sunday is 0)",
    "order": "a range goes from the smaller to the larger",
}


def cron(text: str) -> Complaint | None:
    """A cron line that cron, Kubernetes and sloctl's scheduler all understand in the same way."""
    try:
        parse(text)
    except BadCron as bad:
        return Complaint("bad-cron", *_bad_cron(bad))
    return None


def _bad_cron(bad: BadCron) -> tuple[str, str]:
    """What is wrong with a cron line, and a hint."""
    if bad.field is not None:
        words = f", or {bad.field.words[0]} to {bad.field.words[-1]}" if bad.field.words else ""
        message = f"{bad.field.name} '{bad.text[:40]}': {_CRON_FIELD[bad.fault]}"
        return message, f"values go from {bad.field.low} to {bad.field.high}{words}"
    if bad.fault == "count":
        message = f"a cron line has {len(FIELDS)} fields, not {len(bad.text.split())}"
        return message, "minute, hour, day of the month, month, day of the week: 0 9 * * 1"
    return _CRON_LINE[bad.fault]
