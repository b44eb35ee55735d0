"""The planner: from what is desired and what is observed to actions."""
