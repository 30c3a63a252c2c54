"""Delivers reports to Slack, by slack_sdk."""
