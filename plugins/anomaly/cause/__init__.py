"""What is probably behind an incident."""
