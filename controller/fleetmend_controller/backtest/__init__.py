"""What would this playbook have done? Recorded history through the same core, with other rules, and what came of it."""
