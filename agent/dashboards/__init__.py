"""Dashboards, monitors and alarms that plugins ship, and how they get to the vendor."""
