"""The settings of an agent: from flags, environment and a file, checked, and where each is from."""
