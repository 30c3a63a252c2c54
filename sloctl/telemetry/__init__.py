"""What sloctl says of itself: spans, metrics and logs, by the OpenTelemetry SDK."""
