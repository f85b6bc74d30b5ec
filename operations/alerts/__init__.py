"""Where alerts go: the log, a file of JSON lines, a webhook. ``sensors.alerting`` decides what is told."""
