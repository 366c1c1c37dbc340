"""Who gets in: clients, the grants of the token endpoint, tokens and the keys that sign them."""
