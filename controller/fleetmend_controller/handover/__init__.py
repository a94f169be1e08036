"""From an escalation to people who know: which channels, a durable row for each, sent until it is taken or given up."""
