"""What a notification says: Go templates that Alertmanager fills in, for each kind of receiver.

Labels and annotations may hold anything, names of services that a mesh reports included. In Slack, ``<!channel>``
wakes a whole channel and ``<url|text>`` disguises an address: so ``&``, ``<`` and ``>`` are written as Slack's
entities, and an address cannot end its link. Teams reads Markdown, in which ``[text](url)`` does that. PagerDuty,
Opsgenie and e-mail show plain text.
"""

from __future__ import annotations

SHOWN = 10
"""Alerts of each status that a message shows; the rest is counted."""

NAMED = 60
"""Alerts that fire of which a message for Slack then has no more than the service's name."""
NOTES = ("now", "cause", "description")
"""Annotations that a message shows below an alert's summary, if there are any."""
LINKS = (
    ("Explain", "explain_url"),
    ("Runbook", "runbook_url"),
    ("Dashboard", "dashboard_url"),
    ("Traces", "traces_url"),
)
"""Annotations that hold addresses, and what they are called."""

# Alertmanager parses every text on its own, so each begins with the definitions that it uses.
_TEXT = (
    '{{ define "sloctl.text" }}'
    '{{ . | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;" }}'
    "{{ end }}"
)
_LINK = (
    '{{ define "sloctl.link" }}'
    '{{ . | reReplaceAll "&" "&amp;" | reReplaceAll "<" "%3C" | reReplaceAll ">" "%3E" | reReplaceAll "[|]" "%7C" }}'
    "{{ end }}"
)
_FIRST = "(index .Alerts 0)"

_SUBJECT = (
    '{{ with .CommonLabels.service }}{{ template "sloctl.text" . }}'
    '{{ with $.CommonLabels.namespace }} in {{ template "sloctl.text" . }}{{ end }}'
    '{{ else }}{{ template "sloctl.text" (or .CommonLabels.guardrail .CommonLabels.alertname) }}{{ end }}'
)


def _slack_alerts(status: str, mark: str) -> str:
    """The alerts of one status, one paragraph each."""
    links = "".join(
        f'{{{{ with .Annotations.{note} }}}} · <{{{{ template "sloctl.link" . }}}}|{title}>{{{{ end }}}}'
        for title, note in LINKS
    )
    return (
        f"{{{{ range $index, $alert := .Alerts.{status} }}}}{{{{ if lt $index {SHOWN} }}}}"
        f'*{{{{ template "sloctl.text" (or .Annotations.summary .Labels.alertname) }}}}*{mark}\n'
        f"{_slack_notes()}"
        '{{ template "sloctl.text" .Labels.alertname }}'
        '{{ with .Labels.owner }}, owner {{ template "sloctl.text" . }}{{ end }}'
        f"{links}\n\n{{{{ end }}}}{{{{ end }}}}"
    )


def _named() -> str:
    """Of what else fires, the services: one cause can fail hundreds."""
    last = SHOWN + NAMED
    return (
        f"{{{{ if gt (len .Alerts.Firing) {SHOWN} }}}}Also: {{{{ range $index, $alert := .Alerts.Firing }}}}"
        f"{{{{ if and (ge $index {SHOWN}) (lt $index {last}) }}}}{{{{ if gt $index {SHOWN} }}}}, {{{{ end }}}}"
        '{{ template "sloctl.text" (or .Labels.service .Labels.alertname) }}{{ end }}{{ end }}'
        f"{{{{ if gt (len .Alerts.Firing) {last} }}}}, …{{{{ end }}}}\n{{{{ end }}}}"
    )


def _slack_notes() -> str:
    return "".join(
        f'{{{{ with .Annotations.{note} }}}}{{{{ template "sloctl.text" . }}}}\n{{{{ end }}}}'
        for note in NOTES
    )


def slack() -> dict[str, str]:
    """The texts of a Slack message."""
    title = (
        f"{_TEXT}[{{{{ .Status | toUpper }}}}"
        "{{ if eq .Status `firing` }}:{{ .Alerts.Firing | len }}{{ end }}] "
        f'{{{{ template "sloctl.text" .CommonLabels.severity }}}}: {_SUBJECT}'
    )
    return {
        "color": (
            "{{ if eq .Status `resolved` }}good"
            "{{ else if eq .CommonLabels.severity `page` }}danger{{ else }}warning{{ end }}"
        ),
        "title": title,
        "fallback": title,
        "text": (
            f"{_TEXT}\n{_LINK}\n{_slack_alerts('Firing', '')}{_slack_alerts('Resolved', ' (resolved)')}"
            f"{_named()}{{{{ if gt (len .Alerts) {SHOWN} }}}}{{{{ len .Alerts }}}} alerts in all{{{{ end }}}}"
        ),
    }


def _plain_alerts(status: str) -> str:
    notes = "".join(f"{{{{ with .Annotations.{note} }}}}{{{{ . }}}}\n{{{{ end }}}}" for note in NOTES)
    links = "".join(
        f"{{{{ with .Annotations.{note} }}}}{title}: {{{{ . }}}}\n{{{{ end }}}}" for title, note in LINKS
    )
    return (
        f"{{{{ range .Alerts.{status} }}}}{{{{ or .Annotations.summary .Labels.alertname }}}}\n"
        f"{notes}{links}\n{{{{ end }}}}"
    )


_SUMMARY = (
    f"{{{{ with {_FIRST} }}}}{{{{ or .Annotations.summary .Labels.alertname }}}}{{{{ end }}}}"
    "{{ if gt (len .Alerts) 1 }} ({{ len .Alerts }} alerts){{ end }}"
)


def _plain() -> str:
    """All alerts as plain text."""
    ended = _plain_alerts("Resolved")
    return f"{_plain_alerts('Firing')}{{{{ with .Alerts.Resolved }}}}Resolved:\n{{{{ end }}}}{ended}"


def email() -> dict[str, str]:
    """The text of an e-mail."""
    return {"text": f"{_plain()}{{{{ with .CommonLabels.owner }}}}Owner: {{{{ . }}}}\n{{{{ end }}}}"}


def email_subject() -> str:
    """The subject of an e-mail."""
    return f"[{{{{ .Status | toUpper }}}}] {{{{ .CommonLabels.severity }}}}: {_SUMMARY}"


def opsgenie() -> dict[str, str]:
    """The texts of an Opsgenie alert: its message is cut there after 130 characters."""
    return {
        "message": _SUMMARY,
        "description": _plain(),
        "source": "Alertmanager",
        "priority": "{{ if eq .CommonLabels.severity `page` }}P1{{ else }}P3{{ end }}",
        "tags": "{{ .CommonLabels.severity }},{{ .CommonLabels.slo_set }}",
    }


def opsgenie_details() -> dict[str, str]:
    """What Opsgenie shows as properties, besides the labels that the alerts share."""
    links = {title.lower(): f"{{{{ {_FIRST}.Annotations.{note} }}}}" for title, note in LINKS}
    return {"owner": "{{ .CommonLabels.owner }}", **links}


_MARKDOWN = (
    '{{ define "sloctl.markdown" }}'
    r'{{ . | reReplaceAll `[][*_\x60~<>#!\\]` " " | reReplaceAll "\n" "\n\n" }}'
    "{{ end }}"
)


def teams() -> dict[str, str]:
    """The texts of a card in Teams; of a name, no character is left that Markdown reads."""

    def alerts(status: str, mark: str) -> str:
        notes = "".join(
            f'{{{{ with .Annotations.{note} }}}}{{{{ template "sloctl.markdown" . }}}}\n\n{{{{ end }}}}'
            for note in NOTES
        )
        links = "".join(
            f"{{{{ with .Annotations.{note} }}}}[{title}]({{{{ . | reReplaceAll `[ ()<>]` `` }}}}) {{{{ end }}}}"
            for title, note in LINKS
        )
        return (
            f"{{{{ range $index, $alert := .Alerts.{status} }}}}{{{{ if lt $index {SHOWN} }}}}"
            f'**{{{{ template "sloctl.markdown" (or .Annotations.summary .Labels.alertname) }}}}**{mark}\n\n'
            f"{notes}{links}\n\n{{{{ end }}}}{{{{ end }}}}"
        )

    return {
        "title": f"[{{{{ .Status | toUpper }}}}] {{{{ .CommonLabels.severity }}}}: {_SUMMARY}",
        "text": (
            f"{_MARKDOWN}{alerts('Firing', '')}{alerts('Resolved', ' (resolved)')}"
            f"{{{{ if gt (len .Alerts) {SHOWN} }}}}{{{{ len .Alerts }}}} alerts in all{{{{ end }}}}"
        ),
    }


def pagerduty() -> dict[str, str]:
    """The texts of a PagerDuty event; ``class`` is what kind of failure it is."""
    return {
        "description": _SUMMARY,
        "severity": "{{ if eq .CommonLabels.severity `page` }}critical{{ else }}warning{{ end }}",
        "class": f"{{{{ {_FIRST}.Labels.alertname }}}}",
        "component": "{{ or .CommonLabels.service .CommonLabels.guardrail }}",
        "group": "{{ or .CommonLabels.namespace .CommonLabels.slo_set }}",
    }


def pagerduty_details() -> dict[str, str]:
    """What PagerDuty shows below; Alertmanager adds the numbers of alerts."""
    return {
        "firing": _plain_alerts("Firing"),
        "resolved": _plain_alerts("Resolved"),
        "owner": "{{ .CommonLabels.owner }}",
    }


def pagerduty_links() -> tuple[tuple[str, str], ...]:
    """Titles and addresses; Alertmanager leaves out those that are empty."""
    return tuple((title, f"{{{{ {_FIRST}.Annotations.{annotation} }}}}") for title, annotation in LINKS)
