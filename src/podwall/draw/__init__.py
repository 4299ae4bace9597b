"""Pictures of policies: what they say, what became of them, and the way through the chains."""
