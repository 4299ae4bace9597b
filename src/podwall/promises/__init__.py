"""What a team promises about its policies, and whether they keep it."""
