"""Alerts of Prometheus on their way in: Alertmanager's webhook, the host that an alert is about, and what was heard last."""
