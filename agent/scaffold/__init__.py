"""The packages that `predis-agent plugin new` writes."""
