"""How jobs lie in Redis: names of keys, form of records, the connection, and the scripts that change them."""
