"""The actions that rules may take."""
