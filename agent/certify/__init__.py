"""`predis-agent plugin certify`: what the host promises its users of a plugin, checked by pytest."""
