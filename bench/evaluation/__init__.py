"""How the parts that decide do on recorded data, beside their peers."""
