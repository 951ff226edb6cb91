"""How fast the origins behind the cache answer, from probing them."""
