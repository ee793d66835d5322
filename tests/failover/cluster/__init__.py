"""Two nodes and the API, each in a namespace of its own: for the judges of agents, and for a real cluster engine."""
