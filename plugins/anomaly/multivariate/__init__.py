"""Which rows of one host are unusual as a whole, over all of its metrics together."""
