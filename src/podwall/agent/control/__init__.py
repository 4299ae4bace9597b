"""The control socket: what may be asked, who asks, and how an agent finds the answer."""
