"""What tests and the demo need: a PostgreSQL server of their own."""
