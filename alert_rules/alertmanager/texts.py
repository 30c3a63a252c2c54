"""What a notification says: Go templates that Alertmanager fills in, for Slack and for PagerDuty.

Labels and annotations may hold anything, names of services that a mesh reports included. In Slack, ``<!channel>``
wakes a whole channel and ``<url|text>`` disguises an address: so ``&``, ``<`` and ``>`` are written as Slack's
entities, and an address cannot end its link. PagerDuty shows plain text.
"""

from __future__ import annotations

SHOWN = 10
"""Alerts of each status that a message shows; the rest is counted."""

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
    return (
        f"{{{{ range $index, $alert := .Alerts.{status} }}}}{{{{ if lt $index {SHOWN} }}}}"
        f'*{{{{ template "sloctl.text" (or .Annotations.summary .Labels.alertname) }}}}*{mark}\n'
        '{{ with .Annotations.description }}{{ template "sloctl.text" . }}\n{{ end }}'
        '{{ template "sloctl.text" .Labels.alertname }}'
        '{{ with .Labels.owner }}, owner {{ template "sloctl.text" . }}{{ end }}'
        '{{ with .Annotations.runbook_url }} · <{{ template "sloctl.link" . }}|Runbook>{{ end }}'
        '{{ with .Annotations.dashboard_url }} · <{{ template "sloctl.link" . }}|Dashboard>{{ end }}\n'
        "\n{{ end }}{{ end }}"
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
            f"{{{{ if gt (len .Alerts) {SHOWN} }}}}{{{{ len .Alerts }}}} alerts in all{{{{ end }}}}"
        ),
    }


def _plain_alerts(status: str) -> str:
    return (
        f"{{{{ range .Alerts.{status} }}}}{{{{ or .Annotations.summary .Labels.alertname }}}}\n"
        "{{ with .Annotations.description }}{{ . }}\n{{ end }}"
        "{{ with .Annotations.runbook_url }}Runbook: {{ . }}\n{{ end }}"
        "{{ with .Annotations.dashboard_url }}Dashboard: {{ . }}\n{{ end }}\n{{ end }}"
    )


def pagerduty() -> dict[str, str]:
    """The texts of a PagerDuty event; ``class`` is what kind of failure it is."""
    return {
        "description": (
            f"{{{{ with {_FIRST} }}}}{{{{ or .Annotations.summary .Labels.alertname }}}}{{{{ end }}}}"
            "{{ if gt (len .Alerts) 1 }} ({{ len .Alerts }} alerts){{ end }}"
        ),
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
    return tuple(
        (title, f"{{{{ {_FIRST}.Annotations.{annotation} }}}}")
        for title, annotation in (("Runbook", "runbook_url"), ("Dashboard", "dashboard_url"))
    )
