"""Hero Supervisor: keeps runners alive as systemd units and never loses a job they were given."""
