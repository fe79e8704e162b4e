// Nothing to call: see openssl_at_exit.c.
