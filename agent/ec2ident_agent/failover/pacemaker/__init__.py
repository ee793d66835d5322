"""The OCF resource agents for Pacemaker: what each answers, what the engine asks for, what this node has."""
