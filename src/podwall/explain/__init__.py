"""Why: a decision, the way through the chains and what differs, as tables or JSON."""
