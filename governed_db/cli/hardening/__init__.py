"""What ``governed-db harden`` is made of: what the server has, what the policy wants, and the SQL between."""
