"""What a change would open and close, before it is made."""
