"""Values: addresses, selectors, policies, objects and flows, and their decoding."""
