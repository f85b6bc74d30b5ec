"""The streaming core under a virtual clock, with everything around it simulated and faults from a seed."""
